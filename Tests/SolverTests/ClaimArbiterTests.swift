import CacheMap
import ClusterModel
import OCI
import Solver
import Testing

@Suite struct ClaimArbiterTests {
    private let key = CacheKey(Digest.of([1]))
    private let record = FoundRecord(
        canonicalKey: CacheKey(Digest.of([1])),
        result: VertexResult(outputs: [.scratch], holders: [PeerID(rawValue: 7)]))

    private func claim(_ number: UInt64) -> ClaimID { ClaimID(number: number) }

    @Test func `the second claimant waits and gets the record of the first`() {
        var arbiter = ClaimArbiter()
        #expect(arbiter.claim(key, by: claim(1)) == [.grant(claim(1))])
        #expect(arbiter.claim(key, by: claim(2)) == [])
        #expect(arbiter.finish(claim(1), with: .record(record)) == [.answer(claim(2), .record(record))])
        #expect(arbiter.claim(key, by: claim(3)) == [.answer(claim(3), .record(record))])
        #expect(arbiter.heldCount == 0)
    }

    @Test func `a claimant that dies hands the key to the next in line`() {
        var arbiter = ClaimArbiter()
        _ = arbiter.claim(key, by: claim(1))
        _ = arbiter.claim(key, by: claim(2))
        _ = arbiter.claim(key, by: claim(3))
        #expect(arbiter.release(claim(2)) == [])
        #expect(arbiter.release(claim(1)) == [.grant(claim(3))])
        #expect(arbiter.release(claim(3)) == [])
        #expect(arbiter.heldCount == 0)
    }

    @Test func `a failure is told to those who wait and not remembered`() {
        var arbiter = ClaimArbiter()
        _ = arbiter.claim(key, by: claim(1))
        _ = arbiter.claim(key, by: claim(2))
        let failure = VertexFailure("exit code: 3", exitCode: 3)
        #expect(arbiter.finish(claim(1), with: .failed(failure)) == [.answer(claim(2), .failed(failure))])
        #expect(arbiter.claim(key, by: claim(3)) == [.grant(claim(3))])
    }

    @Test func `a record that cannot be confirmed is forgotten`() {
        var arbiter = ClaimArbiter()
        _ = arbiter.claim(key, by: claim(1))
        _ = arbiter.finish(claim(1), with: .record(record))
        #expect(
            arbiter.claim(key, by: claim(2), rejecting: PeerID(rawValue: 8)) == [.answer(claim(2), .record(record))])
        #expect(arbiter.claim(key, by: claim(3), rejecting: PeerID(rawValue: 7)) == [.grant(claim(3))])
        _ = arbiter.finish(claim(3), with: .record(record))
        arbiter.nodeLost(PeerID(rawValue: 7))
        #expect(arbiter.claim(key, by: claim(4)) == [.grant(claim(4))])
    }

    @Test func `an outcome of somebody who does not hold the key is ignored`() {
        var arbiter = ClaimArbiter()
        _ = arbiter.claim(key, by: claim(1))
        _ = arbiter.claim(key, by: claim(2))
        #expect(arbiter.finish(claim(2), with: .record(record)) == [])
        #expect(arbiter.finish(claim(9), with: .record(record)) == [])
        #expect(arbiter.heldCount == 1)
    }

    @Test(arguments: UInt64(0)..<200)
    func `at most one live claim holds a key, and every claim ends`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var arbiter = ClaimArbiter()
        var holders: [CacheKey: ClaimID] = [:]
        var open: [ClaimID: CacheKey] = [:]
        var next: UInt64 = 0
        func apply(_ effects: [ClaimArbiter.Effect]) {
            for effect in effects {
                switch effect {
                case .grant(let id):
                    guard let key = open[id] else { continue }
                    #expect(holders[key] == nil)
                    holders[key] = id
                case .answer(let id, _), .refuse(let id): open[id] = nil
                }
            }
        }
        func end(_ id: ClaimID, _ outcome: ClaimOutcome?) {
            if let key = open[id], holders[key] == id { holders[key] = nil }
            open[id] = nil
            apply(outcome.map { arbiter.finish(id, with: $0) } ?? arbiter.release(id))
        }
        for _ in 0..<400 {
            if random.next() % 3 != 0 || open.isEmpty {
                next += 1
                let key = CacheKey(Digest.of([UInt8(random.next() % 5)]))
                open[claim(next)] = key
                apply(arbiter.claim(key, by: claim(next), rejecting: PeerID(rawValue: random.next() % 2 == 0 ? 7 : 8)))
            } else {
                let ids = open.keys.sorted()
                let id = ids[Int(random.next() % UInt64(ids.count))]
                let isHolder = open[id].flatMap { holders[$0] } == id
                let choices: [ClaimOutcome?] = [.record(record), .failed(VertexFailure("no")), nil]
                end(id, isHolder ? choices[Int(random.next() % 3)] : nil)
            }
        }
        while let key = holders.keys.sorted().first, let id = holders[key] { end(id, nil) }
        #expect(open.isEmpty)
        #expect(arbiter.heldCount == 0)
    }
}
