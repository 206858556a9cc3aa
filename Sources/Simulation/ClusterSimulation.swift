package import ClusterModel
package import Gossip

/// Many memberships in one thread on a virtual clock; the same seed and calls give the same trace.
///
/// Node i is named `n`i, its address is 10.0.0.1 with port 1000 + i.
package struct ClusterSimulation: Sendable {
    /// One simulated node.
    package struct Node: Sendable {
        package internal(set) var membership: Membership
        package internal(set) var isRunning = true
        /// Nothing at this address answers, not even a kernel.
        package internal(set) var isHostDown = false
        /// While paused: the kernel stands still too.
        package internal(set) var isFrozen = false
        package internal(set) var left = false
        package internal(set) var crashedAt: MonotonicInstant?
        /// Runs again from this instant on.
        package internal(set) var pausedUntil: MonotonicInstant?
        /// What the names of its seeds mean.
        package internal(set) var seeds: [PeerAddress] = []
        package internal(set) var snapshot: [MemberSnapshot] = []
        package internal(set) var boots: UInt64
        package internal(set) var startedAt: MonotonicInstant
        /// Datagrams with seal, UDP and IP headers, streams with an allowance for theirs.
        package internal(set) var wireBytes = 0
        package internal(set) var bytesSent = 0
        package internal(set) var datagramsSent = 0
        package internal(set) var largestDatagram = 0
        package internal(set) var notices: [GossipNotice] = []
        /// Counts the wakes, so that one that was replaced is told apart.
        var wakes: UInt64 = 0
        /// What arrived while it was paused.
        var backlog: [Membership.Event] = []
        var hasDueTimer = false
    }

    /// One report of one node.
    package struct Observation: Sendable {
        package var at: MonotonicInstant
        package var observer: Int
        package var change: MemberChange
    }

    /// One user record that arrived.
    package struct Delivery: Sendable {
        package var at: MonotonicInstant
        package var node: Int
        package var from: PeerID
        package var bytes: [UInt8]
    }

    private enum Happening: Sendable {
        case event(Membership.Event, node: Int, boots: UInt64)
        case wake(node: Int, number: UInt64, boots: UInt64)
        case request(asker: Int, Membership.ExchangeID, to: Int?, [UInt8], boots: UInt64)
        case resume(node: Int)
    }

    /// A stream that cannot be opened fails after this long.
    private static let connectTimeout: Duration = .seconds(1)

    package private(set) var now = MonotonicInstant(nanoseconds: 1_000_000_000_000)
    package var network: SimulatedNetwork
    package private(set) var nodes: [Node] = []
    package private(set) var observations: [Observation] = []
    package private(set) var deliveries: [Delivery] = []
    /// Members that were declared dead while they ran and the observer could reach them, in words.
    package private(set) var falseDeaths: [String] = []
    /// Effects that broke a rule at once, in words.
    package private(set) var violations: [String] = []
    private var order = OrderChecker()
    /// Off in large runs, where reports by the million would fill the memory.
    package var keepsObservations = true
    package let configuration: GossipConfiguration
    private var heap = EventHeap<Happening>()
    private var random: SplitMix64
    private var trace = TraceHash()
    /// Who waits for the answer of an exchange, by token; taken out when answered.
    private var pending: [UInt64: (asker: Int, id: Membership.ExchangeID, boots: UInt64)] = [:]
    private var tokens: UInt64 = 0

    package init(seed: UInt64, configuration: GossipConfiguration = GossipConfiguration()) {
        random = SplitMix64(seed: seed)
        network = SimulatedNetwork(seed: SplitMix64.mix(seed ^ 0x4E45_5457_4F52_4B00))
        self.configuration = configuration
    }

    package var traceHash: UInt64 { trace.value }

    /// Events that a paused process finds when it goes on: what a socket's receive buffer holds.
    private static let backlogMax = 256

    package static func address(of node: Int) -> PeerAddress {
        PeerAddress(host: "10.0.0.1", port: UInt16(1_000 + node))
    }

    package static func id(of node: Int) -> PeerID { PeerID(rawValue: SplitMix64.mix(UInt64(node) + 1)) }

    // MARK: Script

    /// UDP and IPv4 header.
    private static let headerBytes = 28
    /// A connection costs three segments there and back, and closing it as many.
    private static let connectionBytes = 6 * 40

    /// Starts all nodes in a cluster that has formed: each knows all.
    package mutating func startFormed(_ count: Int) throws(GossipConfigurationError) {
        let census = MemberCensus(
            (0..<count).map { (id: Self.id(of: $0), bootID: 1, metadata: Self.metadata(of: $0)) }, at: now)
        for index in 0..<count {
            nodes.append(
                Node(
                    membership: try membership(of: index, boot: 1, remembered: [], census: census), boots: 1,
                    startedAt: now))
            nodes[index].seeds = [Self.address(of: index == 0 ? 1 : 0)]
            handle(.join(seeds: nodes[index].seeds), by: index)
        }
    }

    private static func metadata(of index: Int) -> MemberMetadata {
        MemberMetadata(
            name: "n\(index)", address: address(of: index), platforms: ["linux/amd64"], version: "1", slots: 4)
    }

    /// Starts a new node that joins through `seeds`; returns its index.
    package mutating func start(seeds: [Int]) throws(GossipConfigurationError) -> Int {
        let index = nodes.count
        nodes.append(Node(membership: try membership(of: index, boot: 1, remembered: []), boots: 1, startedAt: now))
        nodes[index].seeds = seeds.map(Self.address)
        handle(.join(seeds: seeds.map(Self.address)), by: index)
        return index
    }

    /// Starts a stopped node again under a higher boot id, with its snapshot if it is to have one.
    package mutating func restart(
        _ index: Int, seeds: [Int], withSnapshot: Bool = true
    ) throws(GossipConfigurationError) {
        let boots = nodes[index].boots + 1
        let snapshot = withSnapshot ? nodes[index].snapshot : []
        nodes[index].membership = try membership(of: index, boot: boots, remembered: snapshot)
        nodes[index].startedAt = now
        nodes[index].isHostDown = false
        nodes[index].isFrozen = false
        nodes[index].left = false
        nodes[index].crashedAt = nil
        nodes[index].boots = boots
        nodes[index].isRunning = true
        nodes[index].pausedUntil = nil
        nodes[index].backlog = []
        nodes[index].seeds = seeds.map(Self.address)
        handle(.join(seeds: seeds.map(Self.address)), by: index)
    }

    /// Stops a node without a word: the process as SIGKILL does, or the whole host as a power cut does.
    package mutating func crash(_ index: Int, isHostDown: Bool = false) {
        nodes[index].isRunning = false
        nodes[index].isHostDown = isHostDown
        nodes[index].crashedAt = now
    }

    /// Stops a node's process for a while, as SIGSTOP does; what arrives waits.
    ///
    /// With `isFrozen` its kernel stands still too.
    package mutating func pause(_ index: Int, for duration: Duration, isFrozen: Bool = false) {
        nodes[index].pausedUntil = now + duration
        nodes[index].isFrozen = isFrozen
        heap.plan(.resume(node: index), at: now + duration)
    }

    /// An event from the node's own process.
    package mutating func tell(_ index: Int, _ event: Membership.Event) { handle(event, by: index) }

    package mutating func run(for duration: Duration) {
        let end = now + duration
        while let at = heap.nextAt, at <= end { step() }
        now = end
    }

    /// Runs until the condition holds; false when it does not within `limit`.
    ///
    /// Looks each `interval`.
    package mutating func run(
        within limit: Duration, every interval: Duration = .milliseconds(50),
        until condition: (ClusterSimulation) -> Bool
    ) -> Bool {
        let end = now + limit
        while !condition(self) {
            guard now < end else { return false }
            run(for: interval)
        }
        return true
    }

    // MARK: Views

    package var running: [Int] { nodes.indices.filter { nodes[$0].isRunning } }

    package func state(of subject: Int, seenBy observer: Int) -> Member.State? {
        nodes[observer].membership.member(Self.id(of: subject))?.state
    }

    // MARK: Machinery

    private mutating func membership(
        of index: Int, boot: UInt64, remembered: [MemberSnapshot], census: MemberCensus? = nil
    ) throws(GossipConfigurationError) -> Membership {
        var settings = configuration
        // Clocks of a cluster agree to about 100 ms.
        settings.wallClockOffset = .milliseconds(Int64(random.next() % 200))
        return try Membership(
            configuration: settings, id: Self.id(of: index), bootID: boot,
            metadata: Self.metadata(of: index),
            remembered: remembered, census: census, random: SplitMix64(seed: random.next()), now: now)
    }

    private mutating func step() {
        guard let (at, happening) = heap.next() else { return }
        now = at
        switch happening {
        case .event(let event, let node, let boots):
            guard nodes[node].boots == boots else { return }
            if case .datagram = event, nodes[node].isFrozen { return }
            handle(event, by: node)
        case .wake(let node, let number, let boots):
            guard nodes[node].boots == boots, nodes[node].wakes == number else { return }
            handle(.timer, by: node)
        case .request(let asker, let id, let target, let bytes, let boots):
            request(asker: asker, id: id, target: target, bytes: bytes, boots: boots)
        case .resume(let node): resume(node)
        }
    }

    private mutating func resume(_ node: Int) {
        guard let until = nodes[node].pausedUntil, until <= now else { return }
        nodes[node].pausedUntil = nil
        nodes[node].isFrozen = false
        let backlog = nodes[node].backlog
        nodes[node].backlog = []
        // libuv runs timers before it reads sockets.
        if nodes[node].hasDueTimer { handle(.timer, by: node) }
        nodes[node].hasDueTimer = false
        for event in backlog { handle(event, by: node) }
    }

    private mutating func handle(_ event: Membership.Event, by index: Int) {
        guard nodes[index].isRunning else { return }
        guard nodes[index].pausedUntil == nil else {
            if case .timer = event {
                nodes[index].hasDueTimer = true
            } else if nodes[index].backlog.count < Self.backlogMax {
                nodes[index].backlog.append(event)
            }
            return
        }
        for effect in nodes[index].membership.handle(event, at: now) {
            trace.add(effect, of: index, at: now)
            perform(effect, by: index)
        }
    }

    private mutating func perform(_ effect: Membership.Effect, by index: Int) {
        switch effect {
        case .send(let bytes, let address): send(bytes, to: address, by: index)
        case .wake(let instant):
            nodes[index].wakes += 1
            heap.plan(.wake(node: index, number: nodes[index].wakes, boots: nodes[index].boots), at: max(now, instant))
        case .exchange(let id, let address, _, let bytes):
            heap.plan(
                .request(asker: index, id, to: node(at: address), bytes, boots: nodes[index].boots),
                at: now + network.streamDelay())
        case .lookUpSeeds: handle(.seedsResolved(nodes[index].seeds), by: index)
        case .connect(let token, let address, _, let limit):
            connect(token, from: index, to: node(at: address), within: limit)
        case .mapRootDiffers, .deliverDirect: break
        case .answerExchange(let token, let bytes): answer(token, bytes, by: index)
        case .report(let change):
            observe(change, by: index)
        case .notice(let notice): nodes[index].notices.append(notice)
        case .deliver(let bytes, let peer):
            deliveries.append(Delivery(at: now, node: index, from: peer, bytes: bytes))
        case .persist(let members): nodes[index].snapshot = members
        case .leaveFinished:
            nodes[index].isRunning = false
            nodes[index].left = true
        }
    }

    private mutating func send(_ bytes: [UInt8], to address: PeerAddress, by index: Int) {
        let payload = bytes.count + configuration.sealOverheadBytes
        nodes[index].bytesSent += bytes.count
        nodes[index].wireBytes += payload + Self.headerBytes
        nodes[index].datagramsSent += 1
        nodes[index].largestDatagram = max(nodes[index].largestDatagram, bytes.count)
        if payload > configuration.packetLimit {
            violations.append("packet limit: n\(index) sent \(payload) bytes at \(now.nanoseconds)")
        }
        guard let target = node(at: address), !nodes[target].isHostDown else { return }
        for delay in network.copies(from: index, to: target, payloadBytes: payload) {
            heap.plan(
                .event(
                    .datagram(
                        bytes, from: Self.address(of: index), sender: Self.id(of: index), bootID: nodes[index].boots),
                    node: target, boots: nodes[target].boots),
                at: now + delay)
        }
    }

    private mutating func observe(_ change: MemberChange, by index: Int) {
        guard change.kind != .load, change.kind != .holdings, change.kind != .condition else { return }
        let observation = Observation(at: now, observer: index, change: change)
        if keepsObservations { observations.append(observation) }
        if let broken = order.check(observation) { violations.append(broken) }
        guard change.kind == .died, let subject = node(at: change.member.address), nodes[subject].isRunning,
            nodes[subject].boots == change.member.bootID, network.connects(index, to: subject),
            network.connects(subject, to: index)
        else { return }
        falseDeaths.append("n\(index) declared n\(subject) dead at \(now.nanoseconds)")
    }

    /// A kernel answers for a stopped process; a stopped process says nothing.
    private mutating func connect(_ token: UInt64, from asker: Int, to target: Int?, within limit: Duration) {
        let delay = network.connectDelay()
        nodes[asker].wireBytes += Self.connectionBytes / 2
        var outcome = Membership.ConnectOutcome.silent
        if let target, network.connects(asker, to: target), network.connects(target, to: asker), delay <= limit,
            !nodes[target].isHostDown, !nodes[target].isFrozen
        {
            if !nodes[target].isRunning {
                outcome = .refused
            } else if nodes[target].pausedUntil != nil {
                outcome = .accepted
            } else {
                outcome = .answered(bootID: nodes[target].boots)
            }
        }
        // The shell waits for the process's answer as long as it may.
        let isAtOnce = outcome != .silent && outcome != .accepted
        heap.plan(
            .event(.connectFinished(token: token, outcome), node: asker, boots: nodes[asker].boots),
            at: now + (isAtOnce ? delay : limit * 0.95))
    }

    private func node(at address: PeerAddress) -> Int? {
        let index = Int(address.port) - 1_000
        return nodes.indices.contains(index) ? index : nil
    }

    private mutating func request(asker: Int, id: Membership.ExchangeID, target: Int?, bytes: [UInt8], boots: UInt64) {
        guard let target, nodes[target].isRunning, network.connects(asker, to: target),
            network.connects(target, to: asker)
        else {
            let isRefused = target.map { network.connects(asker, to: $0) && !nodes[$0].isHostDown } ?? false
            let delay = isRefused ? network.delay() : Self.connectTimeout
            return heap.plan(.event(.exchangeFailed(id), node: asker, boots: boots), at: now + delay)
        }
        nodes[asker].wireBytes += bytes.count + Self.connectionBytes
        tokens += 1
        pending[tokens] = (asker, id, boots)
        handle(.exchangeRequested(token: tokens, bytes), by: target)
    }

    private mutating func answer(_ token: UInt64, _ bytes: [UInt8]?, by index: Int) {
        guard let (asker, id, boots) = pending.removeValue(forKey: token) else { return }
        nodes[index].wireBytes += bytes?.count ?? 0
        let event: Membership.Event =
            if let bytes, network.connects(index, to: asker) { .exchangeAnswered(id, bytes) } else {
                .exchangeFailed(id)
            }
        heap.plan(.event(event, node: asker, boots: boots), at: now + network.streamDelay())
    }
}
