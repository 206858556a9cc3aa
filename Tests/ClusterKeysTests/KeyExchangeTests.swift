import ClusterModel
import Testing

@testable import ClusterKeys

private typealias Rotation = KeyRotation<NumberedKey>

/// One node's exchanges and orders, step by step: whom it tells, how often, and when a step is done.
struct KeyExchangeTests {
    private static func address(_ peer: UInt64) -> PeerAddress { PeerAddress(host: "h", port: UInt16(peer)) }

    private static func moment(_ milliseconds: Int64) -> Rotation.Moment {
        .init(now: .zero + .milliseconds(milliseconds), unixSeconds: UInt64(milliseconds) / 1_000)
    }

    private func node(_ ring: Ring = .of(), graceSeconds: UInt64 = 100) -> Rotation {
        Rotation(ring: ring, settings: .init(graceSeconds: graceSeconds))
    }

    /// Peers that show a key set, by default none that this node has.
    private func peers(_ ids: ClosedRange<UInt64>, isUp: Bool = true, keySet: UInt16? = nil) -> [Rotation.Peer] {
        ids.map {
            .init(
                id: PeerID(rawValue: $0), address: Self.address($0), name: "n\($0)", isUp: isUp,
                keySet: keySet ?? ~node().keySet)
        }
    }

    private func asked(_ effects: [Rotation.Effect]) -> [UInt64] {
        effects.compactMap { if case .exchange(_, let peer, _, _) = $0 { peer.rawValue } else { nil } }
    }

    private func numbers(_ effects: [Rotation.Effect]) -> [UInt64] {
        effects.compactMap { if case .exchange(let number, _, _, _) = $0 { number } else { nil } }
    }

    private func finished(_ effects: [Rotation.Effect]) -> [KeyOrderError?] {
        effects.compactMap { if case .finish(_, let error) = $0 { .some(error) } else { nil } }
    }

    private func adopts(_ effects: [Rotation.Effect]) -> Int {
        effects.count { if case .adopt = $0 { true } else { false } }
    }

    private func wake(_ effects: [Rotation.Effect]) -> Duration? {
        effects.compactMap { if case .wake(let at) = $0 { at - .zero } else { nil } }.last
    }

    private func fail(_ node: inout Rotation, _ effects: [Rotation.Effect], at milliseconds: Int64) {
        for number in numbers(effects) {
            _ = node.handle(.exchangeFailed(number: number, wasReached: false), at: Self.moment(milliseconds))
        }
    }

    // MARK: Sweeps

    @Test func `a sweep tells eight members that are up and show another key set, every two seconds`() {
        var node = node()
        let same = peers(20...22, keySet: node.keySet)
        let others = peers(1...10) + same + peers(30...31, isUp: false)
        let first = node.handle(.timer(others), at: Self.moment(1_000))
        #expect(asked(first) == Array(1...8) && wake(first) == .seconds(3))
        fail(&node, first, at: 1_001)
        #expect(node.exchangesFailed == 8 && node.exchangesDone == 0)
        #expect(asked(node.handle(.timer(others), at: Self.moment(2_999))).isEmpty)
        let second = node.handle(.timer(others), at: Self.moment(3_000))
        #expect(asked(second) == Array(1...8))
        // Who is being spoken to is not asked again.
        #expect(asked(node.handle(.timer(others), at: Self.moment(5_000))).isEmpty)
    }

    @Test func `of the members that are down four are dialled in a sweep, in turn, while there are two keys`() {
        var node = node(.of(2))
        let down = peers(1...6, isUp: false)
        var turns: [[UInt64]] = []
        for second in Int64(1)...4 {
            let effects = node.handle(.timer(down), at: Self.moment(second * 2_000))
            turns.append(asked(effects))
            fail(&node, effects, at: second * 2_000)
        }
        #expect(turns == [[1, 2, 3, 4], [5, 6, 1, 2], [3, 4, 5, 6], [1, 2, 3, 4]])
        node = self.node()
        #expect(asked(node.handle(.timer(down), at: Self.moment(2_000))).isEmpty)
    }

    // MARK: Exchanges

    @Test func `a handshake that fails is tried with each key and the first again, and a connection that fails is not`()
    {
        for (event, isUp) in [(false, true), (true, true), (false, false)] {
            var node = node(.of(2))
            var effects =
                event
                ? node.handle(.otherKey(PeerID(rawValue: 7), Self.address(7)), at: Self.moment(1_000))
                : node.handle(.timer(peers(7...7, isUp: isUp)), at: Self.moment(1_000))
            var tries = 0
            while let number = numbers(effects).first, tries < 9 {
                tries += 1
                effects = node.handle(.exchangeFailed(number: number, wasReached: true), at: Self.moment(1_001))
            }
            #expect(tries == 3, "other key \(event), up \(isUp)")
        }
        var node = node(.of(2))
        let effects = node.handle(.timer(peers(7...7)), at: Self.moment(1_000))
        let number = numbers(effects)[0]
        #expect(asked(node.handle(.exchangeFailed(number: number, wasReached: false), at: Self.moment(1_001))).isEmpty)
        #expect(asked(node.handle(.exchangeFailed(number: number, wasReached: true), at: Self.moment(1_002))).isEmpty)
        #expect(node.exchangesFailed == 1)
    }

    @Test func `who seals with another key is asked once in two seconds`() {
        var node = node()
        func ask(_ milliseconds: Int64) -> [UInt64] {
            let effects = node.handle(.otherKey(PeerID(rawValue: 7), Self.address(7)), at: Self.moment(milliseconds))
            fail(&node, effects, at: milliseconds)
            return asked(effects)
        }
        #expect(ask(1_000) == [7] && ask(2_999).isEmpty && ask(3_000) == [7])
        // One exchange with a peer at a time.
        _ = node.handle(.otherKey(PeerID(rawValue: 7), Self.address(7)), at: Self.moment(9_000))
        #expect(asked(node.handle(.otherKey(PeerID(rawValue: 7), Self.address(7)), at: Self.moment(19_000))).isEmpty)
    }

    @Test func `peers that were asked are remembered up to a bound`() {
        var node = node()
        for peer in UInt64(1)...20_000 {
            let effects = node.handle(.otherKey(PeerID(rawValue: peer), Self.address(1)), at: Self.moment(1_000))
            fail(&node, effects, at: 1_000)
        }
        #expect(node.askedAt.count <= 16_384)
    }

    @Test func `what a peer answers is learnt, and it agrees when it has what this node has`() throws {
        var other = Ring.of()
        try other.install(.init(5))
        var node = node()
        var number = numbers(node.handle(.timer(peers(7...7)), at: Self.moment(1_000)))[0]
        var effects = node.handle(.exchangeAnswered(number: number, other), at: Self.moment(1_001))
        #expect(node.ring.serving == [1, 5] && adopts(effects) == 1 && node.exchangesDone == 1)
        #expect(effects.contains { if case .agreed(Self.address(7)) = $0 { true } else { false } })
        // A ring that lacks something teaches nothing, and is not agreed with.
        number = numbers(node.handle(.timer(peers(7...7)), at: Self.moment(4_000)))[0]
        effects = node.handle(.exchangeAnswered(number: number, .of()), at: Self.moment(4_001))
        #expect(adopts(effects) == 0 && node.exchangesDone == 2)
        #expect(!effects.contains { if case .agreed = $0 { true } else { false } })
        // An answer to nothing.
        #expect(adopts(node.handle(.exchangeAnswered(number: number, .of(9)), at: Self.moment(4_002))) == 0)
        // Who asks tells too.
        effects = node.handle(.exchangeRequested(token: 3, .of(6)), at: Self.moment(5_000))
        #expect(node.ring.serving.contains(6) && adopts(effects) == 1)
    }

    @Test func `rings that would leave this node no key are counted, and answered with the ring that it keeps`() {
        var node = node()
        let first = node.handle(
            .exchangeRequested(token: 1, .forged(1_000..<1_063, removesItself: true)), at: Self.moment(1_000))
        #expect(adopts(first) == 1 && node.ringsRefused == 0)
        let kept = node.ring
        let second = node.handle(.exchangeRequested(token: 2, .forged(2_000..<2_064)), at: Self.moment(2_000))
        #expect(adopts(second) == 0 && node.ringsRefused == 1 && node.ring == kept && kept.serving == [1])
        let answered = second.compactMap { if case .answer(2, let ring) = $0 { ring } else { nil } }
        #expect(answered == [kept])
        let number = numbers(node.handle(.timer(peers(7...7)), at: Self.moment(3_000)))[0]
        _ = node.handle(.exchangeAnswered(number: number, .forged(2_000..<2_064)), at: Self.moment(3_001))
        #expect(node.ringsRefused == 2 && node.ring == kept)
    }

    @Test func `a node without a key asks nobody and wakes for nothing`() {
        var keyless = node(Ring(entries: [.init(key: .init(1), generation: 1)], mapKey: [], isSecret: false))
        let effects =
            keyless.handle(.timer(peers(1...3)), at: Self.moment(1_000))
            + keyless.handle(.otherKey(PeerID(rawValue: 7), Self.address(7)), at: Self.moment(9_000))
        #expect(asked(effects).isEmpty && wake(effects) == nil)
    }

    // MARK: Orders

    @Test func `an order is told at once and looked at each 100 ms until all that are up show it or say so`() throws {
        var node = node()
        _ = node.handle(.timer([]), at: Self.moment(1_000))
        let ordered = node.handle(.ordered(token: 4, .install(.init(2))), at: Self.moment(1_500))
        #expect(adopts(ordered) == 1 && wake(ordered) == .milliseconds(1_500))
        let waiting = peers(1...2) + peers(3...3, isUp: false)
        var effects = node.handle(.timer(waiting), at: Self.moment(1_500))
        #expect(asked(effects).sorted() == [1, 2, 3] && wake(effects) == .milliseconds(1_600))
        let toTwo = try #require(
            effects.compactMap { effect -> UInt64? in
                if case .exchange(let number, PeerID(rawValue: 2), _, _) = effect { number } else { nil }
            }.first)
        fail(&node, effects.filter { if case .exchange(toTwo, _, _, _) = $0 { false } else { true } }, at: 1_550)
        #expect(asked(node.handle(.timer(waiting), at: Self.moment(1_600))) == [1])
        // The word of 2 is enough; 1 shows it.
        effects = node.handle(.exchangeAnswered(number: toTwo, node.ring), at: Self.moment(1_610))
        #expect(finished(effects).isEmpty)
        let shown = peers(1...1, keySet: node.keySet) + peers(2...2) + peers(3...3, isUp: false)
        #expect(finished(node.handle(.timer(shown), at: Self.moment(1_700))) == [nil])
    }

    @Test func `a word for an earlier ring counts no more when the ring has changed`() throws {
        for isLearnt in [true, false] {
            var node = node()
            _ = node.handle(.ordered(token: 4, .rotate(fresh: .init(2))), at: Self.moment(1_000))
            let effects = node.handle(.timer(peers(1...1)), at: Self.moment(1_000))
            let number = numbers(effects)[0]
            _ = node.handle(.exchangeAnswered(number: number, node.ring), at: Self.moment(1_001))
            if isLearnt { _ = node.handle(.exchangeRequested(token: 1, .of(9)), at: Self.moment(1_002)) }
            // Without a change the next step begins, which member 1 has not agreed to.
            let after = node.handle(.timer(peers(1...1)), at: Self.moment(1_100))
            #expect((node.ring.sealing == 2) == !isLearnt && finished(after).isEmpty)
            #expect(finished(node.handle(.timer(peers(1...1)), at: Self.moment(1_200))).isEmpty)
            #expect((node.ring.sealing == 2) == !isLearnt && node.ring.inGrace.isEmpty)
        }
    }

    @Test func `each step has 30 seconds of its own`() {
        var node = node()
        _ = node.handle(.ordered(token: 4, .rotate(fresh: .init(2))), at: Self.moment(1_000))
        #expect(finished(node.handle(.timer(peers(1...1)), at: Self.moment(30_999))).isEmpty)
        let shown = peers(1...1, keySet: node.keySet)
        #expect(finished(node.handle(.timer(shown), at: Self.moment(31_000))).isEmpty && node.ring.sealing == 2)
        #expect(finished(node.handle(.timer(peers(1...1)), at: Self.moment(60_999))).isEmpty)
        let late = node.handle(.timer(peers(1...1)), at: Self.moment(61_000))
        #expect(finished(late) == [.notEverywhere(.use, members: ["n1"])])
        #expect(finished(node.handle(.timer([]), at: Self.moment(61_100))).isEmpty && node.command == nil)
    }

    @Test func `an order that changes nothing writes nothing down`() {
        var node = node(.of(2))
        let effects = node.handle(.ordered(token: 4, .install(.init(2))), at: Self.moment(1_000))
        #expect(adopts(effects) == 0 && finished(effects).isEmpty)
        #expect(finished(node.handle(.timer([]), at: Self.moment(1_100))) == [nil])
    }

    @Test func `a rotation goes on with a key that never sealed, and with no other`() throws {
        for (used, expected) in [(false, UInt64(2)), (true, 7)] {
            var ring = Ring.of(2)
            if used {
                try ring.use(KeyFingerprint(rawValue: 2))
                try ring.use(KeyFingerprint(rawValue: 1))
            }
            var node = node(ring)
            _ = node.handle(.ordered(token: 4, .rotate(fresh: .init(7))), at: Self.moment(1_000))
            for turn in Int64(1)...3 { _ = node.handle(.timer([]), at: Self.moment(1_000 + turn * 100)) }
            #expect(node.ring.serving == [expected])
        }
    }

    @Test func `a grace that is over is noticed without any order`() throws {
        var ring = Ring.of(2)
        try ring.remove(KeyFingerprint(rawValue: 2), graceSeconds: 5, now: 1)
        var node = node(ring)
        #expect(adopts(node.handle(.timer([]), at: Self.moment(5_900))) == 0)
        #expect(adopts(node.handle(.timer([]), at: Self.moment(6_000))) == 1 && node.ring.entries.count == 1)
    }

    @Test func `a ring that could not be written down gives way to the last that was`() {
        var node = node()
        _ = node.handle(.ordered(token: 4, .install(.init(2))), at: Self.moment(1_000))
        node.wasKept()
        #expect(finished(node.handle(.timer([]), at: Self.moment(1_100))) == [nil])
        _ = node.handle(.ordered(token: 5, .install(.init(3))), at: Self.moment(2_000))
        #expect(finished(node.handle(.notKept, at: Self.moment(2_000))) == [.notKept])
        #expect(node.ring.serving == [1, 2])
    }
}
