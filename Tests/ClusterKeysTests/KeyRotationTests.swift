import ClusterModel
import Testing

@testable import ClusterKeys

private typealias Rotation = KeyRotation<NumberedKey>

/// Machines whose exchanges arrive at once, unless one is away.
private struct Machines {
    var nodes: [Rotation]
    var away: Set<Int> = []
    var now = MonotonicInstant.zero + .seconds(1_000)
    var finished: [Int: [KeyOrderError?]] = [:]
    var adopted: [Int] = []
    var exchanges = 0

    init(_ count: Int) {
        nodes = (0..<count).map { _ in Rotation(ring: .of(), settings: .init(graceSeconds: 100)) }
        adopted = [Int](repeating: 0, count: count)
    }

    private var moment: Rotation.Moment {
        .init(now: now, unixSeconds: UInt64(now.nanoseconds / 1_000_000_000))
    }

    static func address(_ index: Int) -> PeerAddress { PeerAddress(host: "h", port: UInt16(index + 1)) }

    func peers(of index: Int) -> [Rotation.Peer] {
        nodes.indices.filter { $0 != index }.map {
            .init(
                id: PeerID(rawValue: UInt64($0)), address: Self.address($0), name: "n\($0)", isUp: !away.contains($0),
                keySet: nodes[$0].keySet)
        }
    }

    mutating func handle(_ event: Rotation.Event, by index: Int) {
        for effect in nodes[index].handle(event, at: moment) {
            switch effect {
            case .exchange(let number, _, let address, let ring):
                exchanges += 1
                let target = Int(address.port) - 1
                guard !away.contains(target), !away.contains(index) else {
                    handle(.exchangeFailed(number: number, wasReached: false), by: index)
                    continue
                }
                handle(.exchangeRequested(token: 1, ring), by: target)
                handle(.exchangeAnswered(number: number, nodes[target].ring), by: index)
            case .adopt:
                adopted[index] += 1
                nodes[index].wasKept()
            case .finish(_, let error): finished[index, default: []].append(error)
            case .answer, .agreed, .wake: break
            }
        }
    }

    /// So many seconds, with a look of every node that is not away at each poll.
    mutating func run(_ seconds: Int) {
        let end = now + .seconds(seconds)
        while now < end {
            now = now + nodes[0].settings.pollInterval
            for index in nodes.indices where !away.contains(index) { handle(.timer(peers(of: index)), by: index) }
        }
    }
}

struct KeyRotationTests {
    @Test func `a rotation installs, uses and removes, each step once all have the one before`() throws {
        var machines = Machines(4)
        machines.handle(.ordered(token: 1, .rotate(fresh: .init(5))), by: 2)
        #expect(machines.nodes[2].ring.serving == [1, 5] && machines.nodes[0].ring.serving == [1])
        machines.run(5)
        #expect(machines.finished[2] == [nil])
        for node in machines.nodes { #expect(node.ring.serving == [5] && node.ring.inGrace == [1]) }
        machines.run(101)
        for node in machines.nodes { #expect(node.ring.entries.count == 1) }
        #expect(machines.nodes.allSatisfy { $0.keySet == machines.nodes[0].keySet })
    }

    @Test func `a step that not all take ends with their names, and a repeated order goes on with the same key`() throws
    {
        var machines = Machines(3)
        let old = machines.nodes[0].keySet
        func peers(_ machines: Machines) -> [Rotation.Peer] {
            (1...2).map {
                .init(
                    id: PeerID(rawValue: UInt64($0)), address: Machines.address($0), name: "n\($0)", isUp: true,
                    keySet: $0 == 2 ? old : machines.nodes[0].keySet)
            }
        }
        machines.away = [2]
        machines.handle(.ordered(token: 1, .rotate(fresh: .init(5))), by: 0)
        for _ in 0..<31 {
            machines.now = machines.now + .seconds(1)
            machines.handle(.timer(peers(machines)), by: 0)
        }
        #expect(machines.finished[0] == [.notEverywhere(.install, members: ["n2"])])
        #expect(machines.nodes[0].ring.sealing == 1 && machines.nodes[0].ring.inGrace.isEmpty)
        machines.away = []
        machines.handle(.ordered(token: 2, .rotate(fresh: .init(6))), by: 0)
        machines.run(5)
        #expect(machines.finished[0]?.count == 2 && machines.finished[0]?.last == .some(nil))
        #expect(machines.nodes.allSatisfy { $0.ring.serving == [5] })
    }

    @Test func `a member that comes back is told by whoever sees another key set, or is sealed to with another key`() {
        var machines = Machines(3)
        machines.away = [2]
        machines.handle(.ordered(token: 1, .rotate(fresh: .init(5))), by: 0)
        machines.run(5)
        #expect(machines.finished[0] == [nil] && machines.nodes[2].ring.serving == [1])
        machines.away = []
        machines.handle(.otherKey(PeerID(rawValue: 2), Machines.address(2)), by: 1)
        #expect(machines.nodes[2].ring.serving == [5])
        // Once a sweep, whatever is heard.
        let before = machines.exchanges
        for _ in 0..<9 { machines.handle(.otherKey(PeerID(rawValue: 2), Machines.address(2)), by: 1) }
        #expect(machines.exchanges == before)
    }

    @Test func `members that are down are dialled while older keys exist, with every key`() throws {
        var node = Rotation(ring: .of(), settings: .init(graceSeconds: 100))
        let down = (1...9).map {
            Rotation.Peer(
                id: PeerID(rawValue: UInt64($0)), address: Machines.address($0), name: "n\($0)", isUp: false, keySet: 0)
        }
        func exchanges(_ effects: [Rotation.Effect]) -> [(UInt64, PeerID)] {
            effects.compactMap { if case .exchange(let number, let peer, _, _) = $0 { (number, peer) } else { nil } }
        }
        func moment(_ seconds: UInt64) -> Rotation.Moment {
            .init(now: MonotonicInstant(nanoseconds: Int64(seconds) * 1_000_000_000), unixSeconds: seconds)
        }
        #expect(exchanges(node.handle(.timer(down), at: moment(10))).isEmpty)
        _ = node.handle(.ordered(token: 1, .rotate(fresh: .init(2))), at: moment(20))
        var asked: [UInt64] = []
        var failures = 0
        for second in UInt64(21)..<34 {
            var pending = exchanges(node.handle(.timer(down), at: moment(second)))
            asked += pending.map(\.1.rawValue)
            while let (number, _) = pending.popLast() {
                failures += 1
                pending += exchanges(node.handle(.exchangeFailed(number: number, wasReached: true), at: moment(second)))
            }
        }
        #expect(node.ring.serving == [2] && Set(asked) == Set(1...9))
        // Two keys more than the first try: 2 and 1, and the first again.
        #expect(failures == asked.count * 3)
        #expect(exchanges(node.handle(.timer(down), at: moment(200))).isEmpty, "the old key is gone")
    }

    @Test func `one order at a time, and none without a key`() {
        var machines = Machines(2)
        machines.handle(.ordered(token: 1, .rotate(fresh: .init(5))), by: 0)
        machines.handle(.ordered(token: 2, .install(.init(6))), by: 0)
        #expect(machines.finished[0] == [.busy])
        machines.run(5)
        machines.handle(.ordered(token: 3, .use(KeyFingerprint(rawValue: 1))), by: 0)
        #expect(machines.finished[0]?.last == .ring(.retired(KeyFingerprint(rawValue: 1))))
        var keyless = Rotation(
            ring: Ring(entries: [.init(key: .init(1), generation: 1)], mapKey: [], isSecret: false),
            settings: .init(graceSeconds: 1))
        let moment = Rotation.Moment(now: .zero, unixSeconds: 1)
        guard
            case .finish(_, .ring(.noKey))? = keyless.handle(.ordered(token: 1, .rotate(fresh: .init(2))), at: moment)
                .first
        else { return #expect(Bool(false), "an order without a key") }
    }

    @Test func `a newer order for a key that is being replaced stops the removal`() throws {
        var machines = Machines(2)
        machines.handle(.ordered(token: 1, .rotate(fresh: .init(5))), by: 0)
        machines.now = machines.now + .seconds(1)
        machines.handle(.timer(machines.peers(of: 0)), by: 0)
        machines.handle(.timer(machines.peers(of: 0)), by: 0)
        #expect(machines.nodes[0].ring.sealing == 5)
        var contrary = machines.nodes[0].ring
        try contrary.use(KeyFingerprint(rawValue: 1))
        machines.handle(.exchangeRequested(token: 9, contrary), by: 0)
        machines.run(3)
        #expect(machines.finished[0] == [.overruled(by: KeyFingerprint(rawValue: 1))])
        #expect(machines.nodes.allSatisfy { $0.ring.serving == [1, 5] })
    }

    @Test func `a ring that cannot be written down is not used, and the operator hears of it`() {
        var node = Rotation(ring: .of(), settings: .init(graceSeconds: 1))
        let moment = Rotation.Moment(now: .zero, unixSeconds: 1)
        _ = node.handle(.ordered(token: 4, .install(.init(2))), at: moment)
        let effects = node.handle(.notKept, at: moment)
        #expect(node.ring.serving == [1])
        guard case .finish(4, .notKept)? = effects.first else { return #expect(Bool(false), "\(effects)") }
    }
}
