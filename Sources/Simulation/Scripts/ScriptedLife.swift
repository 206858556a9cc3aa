internal import ClusterModel
internal import Gossip

/// A cluster, the script that it lives through, and the checkers that watch it.
struct ScriptedLife: Sendable {
    private struct Turn {
        var at: Int
        var isEnd: Bool
        var entry: Int
    }

    private(set) var cluster: ClusterSimulation
    private(set) var violations: [String] = []
    private let script: FaultScript
    private let began: MonotonicInstant
    private var active: Set<Int> = []
    /// Index of the copy that an entry started.
    private var clones: [Int: Int] = [:]
    private var bounds: TimeBoundChecker
    private var queues = QueueChecker()
    private var innocents: InnocentChecker
    private var ticks = 0

    private static let violationsMax = 20

    init(_ script: FaultScript, cluster: ClusterSimulation) {
        self.script = script
        self.cluster = cluster
        began = cluster.now
        bounds = TimeBoundChecker(from: cluster.now)
        innocents = InnocentChecker(script, period: cluster.configuration.period)
    }

    private var period: Duration { cluster.configuration.period }

    /// Plays all entries, each at its time.
    mutating func play() throws(GossipConfigurationError) {
        let start = cluster.now
        innocents.start = start
        var turns: [Turn] = []
        for (index, entry) in script.entries.enumerated() {
            turns.append(Turn(at: entry.at, isEnd: false, entry: index))
            if entry.lasts > 0 { turns.append(Turn(at: entry.at + entry.lasts, isEnd: true, entry: index)) }
        }
        turns.sort { ($0.at, $0.isEnd ? 1 : 0, $0.entry) < ($1.at, $1.isEnd ? 1 : 0, $1.entry) }
        for turn in turns {
            run(for: max(.zero, start + period * (Double(turn.at) / 10) - cluster.now))
            if turn.isEnd { try end(turn.entry) } else { try begin(turn.entry) }
            bounds.disturbedAt = cluster.now
        }
        for index in active.sorted() where script.entries[index].fault.isOfNetwork { active.remove(index) }
        setNetwork()
    }

    /// Looks at the bounds twice a period.
    mutating func run(for duration: Duration) {
        let end = cluster.now + duration
        while cluster.now < end {
            let next = began + period * (Double(ticks + 1) / 2)
            guard next <= end else { return cluster.run(for: end - cluster.now) }
            cluster.run(for: next - cluster.now)
            ticks += 1
            // A bad network and a process that stands still disturb as long as they do.
            let isDisturbed =
                active.contains { script.entries[$0].fault.isOfNetwork }
                || cluster.running.contains { cluster.nodes[$0].pausedUntil != nil }
            if isDisturbed { bounds.disturbedAt = cluster.now }
            note(bounds.violations(cluster))
            note(innocents.violations(cluster))
            if ticks % 2 == 0 { note(queues.violations(cluster)) }
        }
    }

    private mutating func note(_ found: [String]) {
        let room = Self.violationsMax - violations.count
        let text = Double((cluster.now - began).nanoseconds) / Double(period.nanoseconds)
        violations += found.prefix(max(0, room)).map { "\($0) (at \(text) T)" }
    }

    /// One process for each identity, and all see exactly these.
    mutating func checkTheEnd() {
        var holders: [Int: Int] = [:]
        for index in cluster.running {
            let identity = cluster.nodes[index].identity
            if let other = holders.updateValue(index, forKey: identity) {
                note(["end: n\(other) and n\(index) both still have the identity of n\(identity)"])
            }
        }
        for observer in cluster.running {
            let membership = cluster.nodes[observer].membership
            for (identity, holder) in holders.sorted(by: { $0.key < $1.key }) {
                let member = membership.member(ClusterSimulation.id(of: identity))
                guard member?.state != .alive || member?.bootID != cluster.nodes[holder].boots else { continue }
                note([
                    "end: n\(observer) holds n\(holder) for \(member.map { "\($0.state) in boot \($0.bootID)" } ?? "unknown")"
                ])
            }
            if membership.upCount != holders.count {
                note(["end: n\(observer) counts \(membership.upCount) members, \(holders.count) run"])
            }
        }
        note(cluster.keyChecker.violations(cluster, isLate: false))
        // A copy alone is no danger to the node that it was made from.
        for (entry, clone) in clones where script.entries.count == 1 {
            guard case .clone(let original) = script.entries[entry].fault else { continue }
            if !cluster.nodes[original].isRunning { note(["end: n\(original) gave way to its copy n\(clone)"]) }
        }
    }

    /// As long after the end as a removed key opens.
    mutating func checkKeysLate() { note(cluster.keyChecker.violations(cluster, isLate: true)) }

    // MARK: Faults

    private mutating func begin(_ index: Int) throws(GossipConfigurationError) {
        active.insert(index)
        let entry = script.entries[index]
        switch entry.fault {
        case .crash(let node, let withHost, _):
            guard cluster.nodes[node].isRunning else {
                active.remove(index)
                return
            }
            cluster.crash(node, isHostDown: withHost)
        case .leave(let node): if cluster.nodes[node].isRunning { cluster.tell(node, .leave) }
        case .stall(let node, let withHost):
            cluster.pause(node, for: period * (Double(entry.lasts) / 10), isFrozen: withHost)
        case .clone(let node):
            guard cluster.nodes[node].isRunning else { return }
            clones[index] = try cluster.startClone(of: node, hasSameBoot: false)
        case .clockJump(let node, let seconds): cluster.jumpWallClock(of: node, by: .seconds(seconds))
        case .drift(let node, let perMille): cluster.setClockRate(1 + Double(perMille) / 1_000, of: node)
        case .rotate(let node): cluster.rotateKeys(of: node)
        default: setNetwork()
        }
    }

    private mutating func end(_ index: Int) throws(GossipConfigurationError) {
        guard active.remove(index) != nil else { return }
        switch script.entries[index].fault {
        case .crash(let node, _, let keepsSnapshot):
            guard !cluster.nodes[node].isRunning, !cluster.nodes[node].left else { return }
            try cluster.restart(node, seeds: [node == 0 ? 1 : 0], withSnapshot: keepsSnapshot)
        case .clone: if let clone = clones[index] { cluster.crash(clone) }
        case .drift(let node, _): cluster.setClockRate(1, of: node)
        case .leave, .stall, .clockJump, .rotate: break
        default: setNetwork()
        }
    }

    /// What all faults of the network that are under way make of it.
    private mutating func setNetwork() {
        cluster.network.clearFaults()
        for index in active.sorted() { apply(script.entries[index].fault) }
    }

    private mutating func apply(_ fault: FaultScript.Fault) {
        switch fault {
        case .split(let side):
            for one in cluster.nodes.indices {
                for other in cluster.nodes.indices where side.contains(one) != side.contains(other) {
                    cluster.network.cut(from: one, to: other)
                }
            }
        case .oneWay(let from, let to): cluster.network.cut(from: from, to: to)
        case .blocked(let node): cluster.network.datagramBlocked.insert(node)
        case .sizeLimit(let bytes): cluster.network.payloadMax = min(bytes, cluster.network.payloadMax ?? bytes)
        case .loss(let percent, let burst):
            cluster.network.loss = max(cluster.network.loss, Double(percent) / 100)
            cluster.network.burstLength = max(cluster.network.burstLength, Double(burst))
        case .corruption(let percent): cluster.network.corruption = Double(percent) / 100
        case .duplication(let percent): cluster.network.duplication = Double(percent) / 100
        case .late(let percent):
            // A thousandth of a second takes up to 30 s.
            cluster.network.delays = .heavyTail(
                .microseconds(200), .milliseconds(1), share: Double(percent) / 100, factor: 30_000)
        case .crash, .leave, .stall, .clone, .clockJump, .drift, .rotate: break
        }
    }
}

extension FaultScript.Fault {
    var isOfNetwork: Bool {
        switch self {
        case .split, .oneWay, .blocked, .sizeLimit, .loss, .corruption, .duplication, .late: true
        case .crash, .leave, .stall, .clone, .clockJump, .drift, .rotate: false
        }
    }
}
