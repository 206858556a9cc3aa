package import ClusterKeys
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
        /// Its boot id.
        package internal(set) var boots: UInt64
        /// Numbers the processes that ran at this address: what was meant for an earlier one is gone.
        var process: UInt64 = 0
        package internal(set) var startedAt: MonotonicInstant
        /// Datagrams with seal, UDP and IP headers, streams with an allowance for theirs.
        package internal(set) var wireBytes = 0
        package internal(set) var bytesSent = 0
        package internal(set) var datagramsSent = 0
        package internal(set) var largestDatagram = 0
        package internal(set) var notices: [GossipNotice] = []
        /// Whose identity it has: its own number, or that of the node that it is a clone of.
        package internal(set) var identity: Int
        /// Unix time minus its monotonic clock.
        var wallClockOffset = Duration.zero
        /// It found that another process has its identity, and takes no part any more.
        package internal(set) var hasGivenUp = false
        /// What its monotonic clock shows.
        package internal(set) var clock = SimulatedClock()
        /// Boot ids that it asked for because another process has its identity.
        package internal(set) var renewals = 0
        /// Counts the wakes, so that one that was replaced is told apart.
        var wakes: UInt64 = 0
        /// What arrived while it was paused.
        var backlog: [Membership.Event] = []
        var hasDueTimer = false
        /// Nil in a cluster whose keys are not simulated.
        package internal(set) var keys: SimulatedKeys?
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

    /// What a node's membership has for the layer above it.
    package struct Upcall: Sendable {
        package enum Kind: Sendable {
            case delivered([UInt8], from: PeerID)
            case direct([UInt8], from: PeerID)
            case mapRootDiffers(PeerID)
            case changed(MemberChange)
        }

        package var node: Int
        package var kind: Kind
    }

    package struct FalseDeath: Sendable {
        package var at: MonotonicInstant
        package var observer: Int
        package var subject: Int
    }

    enum Happening: Sendable {
        case event(Membership.Event, node: Int, process: UInt64)
        case wake(node: Int, number: UInt64, process: UInt64)
        case request(asker: Int, Membership.ExchangeID, to: Int?, [UInt8], process: UInt64)
        case resume(node: Int)
        /// A datagram sealed with `key`.
        case sealed(Membership.Event, key: KeyFingerprint, from: Int, node: Int, process: UInt64)
        case keys(KeyHappening, node: Int, process: UInt64)
    }

    /// A stream that cannot be opened fails after this long.
    static let connectTimeout: Duration = .seconds(1)

    package internal(set) var now = MonotonicInstant(nanoseconds: 1_000_000_000_000)
    package var network: SimulatedNetwork
    package internal(set) var nodes: [Node] = []
    package internal(set) var observations: [Observation] = []
    package internal(set) var deliveries: [Delivery] = []
    /// Filled only for a layer above, which takes them.
    package var keepsUpcalls = false
    var upcalls: [Upcall] = []
    /// Members that were declared dead while they ran and the observer could reach them, in words.
    package internal(set) var falseDeaths: [String] = []
    /// The same, for a checker.
    package internal(set) var falseDeathPairs: [FalseDeath] = []
    /// Effects that broke a rule at once, in words.
    package internal(set) var violations: [String] = []
    var order = OrderChecker()
    /// Off in large runs, where reports by the million would fill the memory.
    package var keepsObservations = true
    package let configuration: GossipConfiguration
    var heap = EventHeap<Happening>()
    var random: SplitMix64
    var trace = TraceHash()
    /// Who waits for the answer of an exchange, by token; taken out when answered.
    var pending: [UInt64: (asker: Int, id: Membership.ExchangeID, process: UInt64)] = [:]
    var tokens: UInt64 = 0
    /// With these, nodes have keys and can rotate them; set before the first starts.
    package var keySettings: KeyRotation<SimulatedKey>.Settings? {
        didSet { keyChecker.graceSeconds = keySettings?.graceSeconds ?? 0 }
    }
    package internal(set) var keyChecker = KeyChecker()
    /// Keys made since the first.
    var keysMade: UInt64 = 0
    /// Rings that nodes answer with, by the token of the request, until they are sent.
    var keyAnswers: [UInt64: KeyRing<SimulatedKey>] = [:]
    /// Happenings in a row at the present instant.
    var happenedAtOnce = 0
    /// More than the largest simulated cluster has in one instant; a wake that asks for itself has no end.
    static let atOnceMax = 1_000_000

    package init(seed: UInt64, configuration: GossipConfiguration = GossipConfiguration()) {
        random = SplitMix64(seed: seed)
        network = SimulatedNetwork(seed: SplitMix64.mix(seed ^ 0x4E45_5457_4F52_4B00))
        self.configuration = configuration
    }

    package var traceHash: UInt64 { trace.value }

    /// Events that a paused process finds when it goes on: what a socket's receive buffer holds.
    static let backlogMax = 256

    package static func address(of node: Int) -> PeerAddress {
        PeerAddress(host: "10.0.0.1", port: UInt16(1_000 + node))
    }

    package static func id(of node: Int) -> PeerID { PeerID(rawValue: SplitMix64.mix(UInt64(node) + 1)) }

    // MARK: Script

    /// UDP and IPv4 header.
    static let headerBytes = 28
    /// A connection costs three segments there and back, and closing it as many.
    static let connectionBytes = 6 * 40

    /// Starts all nodes in a cluster that has formed: each knows all.
    package mutating func startFormed(_ count: Int) throws(GossipConfigurationError) {
        let census = MemberCensus(
            (0..<count).map { (id: Self.id(of: $0), bootID: 1, metadata: Self.metadata(of: $0)) }, at: now)
        for index in 0..<count {
            nodes.append(
                Node(
                    membership: try membership(of: index, as: index, boot: 1, remembered: [], census: census), boots: 1,
                    startedAt: now, identity: index))
            startKeys(of: index)
            nodes[index].seeds = [Self.address(of: index == 0 ? 1 : 0)]
            handle(.join(seeds: nodes[index].seeds), by: index)
        }
    }

    static func metadata(of index: Int) -> MemberMetadata {
        MemberMetadata(
            name: "n\(index)", address: address(of: index), platforms: ["linux/amd64"], version: "1", slots: 4)
    }

    /// Starts a new node that joins through `seeds`; returns its index.
    package mutating func start(seeds: [Int]) throws(GossipConfigurationError) -> Int {
        let index = nodes.count
        nodes.append(
            Node(
                membership: try membership(of: index, as: index, boot: 1, remembered: []), boots: 1, startedAt: now,
                identity: index))
        startKeys(of: index)
        nodes[index].seeds = seeds.map(Self.address)
        handle(.join(seeds: seeds.map(Self.address)), by: index)
        return index
    }

    /// Starts a copy of a node at another address: same identity and snapshot, the next boot id, as from a copied root
    /// directory; or with the very boot id that the original has, as from a copied machine.
    ///
    /// Returns its index.
    package mutating func startClone(of original: Int, hasSameBoot: Bool) throws(GossipConfigurationError) -> Int {
        let index = nodes.count
        let identity = nodes[original].identity
        let boot = hasSameBoot ? nodes[original].boots : takeBoot(of: identity)
        let snapshot = nodes[original].snapshot
        nodes.append(
            Node(
                membership: try membership(of: index, as: identity, boot: boot, remembered: snapshot), boots: boot,
                startedAt: now, identity: identity))
        startKeys(of: index, kept: nodes[original].keys?.kept)
        nodes[index].seeds = nodes[original].seeds
        handle(.join(seeds: nodes[index].seeds), by: index)
        return index
    }

    /// The next boot id of an identity.
    ///
    /// Its time and random bits make it differ from those that copies took.
    func takeBoot(of identity: Int) -> UInt64 {
        nodes.filter { $0.identity == identity }.reduce(0) { max($0, $1.boots) } + 1
    }

    /// Starts a stopped node again under a higher boot id, with its snapshot if it is to have one.
    package mutating func restart(
        _ index: Int, seeds: [Int], withSnapshot: Bool = true
    ) throws(GossipConfigurationError) {
        let boot = takeBoot(of: nodes[index].identity)
        let snapshot = withSnapshot ? nodes[index].snapshot : []
        nodes[index].membership = try membership(
            of: index, as: nodes[index].identity, boot: boot, remembered: snapshot)
        nodes[index].startedAt = now
        nodes[index].isHostDown = false
        nodes[index].isFrozen = false
        nodes[index].left = false
        nodes[index].crashedAt = nil
        nodes[index].boots = boot
        nodes[index].process += 1
        nodes[index].isRunning = true
        nodes[index].pausedUntil = nil
        nodes[index].backlog = []
        nodes[index].hasDueTimer = false
        startKeys(of: index, kept: nodes[index].keys?.kept)
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

    /// Lets a node's monotonic clock run at another rate.
    package mutating func setClockRate(_ rate: Double, of index: Int) {
        nodes[index].clock.setRate(rate, at: now)
        // What it waits for comes at another instant now.
        handle(.timer, by: index)
    }

    /// Sets a node's wall clock forward or back.
    package mutating func jumpWallClock(of index: Int, by jump: Duration) {
        nodes[index].wallClockOffset += jump
        keyChecker.clockJumped(of: index, by: UInt64(abs(jump.inSeconds).rounded(.up)))
        handle(.wallClockRead(offset: nodes[index].wallClockOffset), by: index)
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

    /// What has come up since the last call, in order.
    package mutating func takeUpcalls() -> [Upcall] {
        defer { upcalls.removeAll(keepingCapacity: true) }
        return upcalls
    }

    // MARK: Views

    package var running: [Int] { nodes.indices.filter { nodes[$0].isRunning } }

    /// Where each datagram comes from and goes, for a checker that counts nonces.
    package var nonces: NonceChecker?
    /// Hands some datagrams to a copy of their receiver once more.
    package var replays: ReplayChecker?
    /// When a node reported last that a member's state changed.
    package internal(set) var changedAt = MonotonicInstant.zero

    package func state(of subject: Int, seenBy observer: Int) -> Member.State? {
        nodes[observer].membership.member(Self.id(of: subject))?.state
    }
}
