import ClusterModel
import OCI
import Solver
import Testing

@Suite struct PlacementTests {
    private let key = Digest.of([1])
    private let home = PeerID(rawValue: 1)

    private func node(
        _ id: UInt64, slots: Int = 4, running: Int = 0, queued: Int = 0, pull: Int64 = 0, holds: Bool = false
    ) -> Candidate {
        Candidate(
            peer: PeerID(rawValue: id), slots: slots, running: running, queued: queued, bytesToPull: pull,
            linkRate: Placement.linkRateDefault, holdsPrimaryInput: holds)
    }

    private func best(_ candidates: [Candidate], seconds: Double = 2) -> UInt64? {
        Placement.rank(candidates, runSeconds: seconds, home: home, key: key).first?.candidate.peer.rawValue
    }

    @Test func `equal idle nodes: the home node, which has the client`() {
        #expect(best([node(2), node(1), node(3)]) == 1)
    }

    @Test func `the holder of the root file system wins a tie against home`() {
        #expect(best([node(1), node(2, holds: true)]) == 2)
    }

    @Test func `a full home gives work away when pulling is cheaper than waiting`() {
        #expect(best([node(1, slots: 1, running: 1), node(2, pull: 10_000_000)]) == 2)
        #expect(best([node(1, slots: 1, running: 1), node(2, pull: 10_000_000_000)]) == 1)
    }

    @Test func `a second branch goes to an idle node when its inputs are small`() {
        #expect(best([node(1, slots: 2, running: 1), node(2, slots: 2, pull: 1_000_000)]) == 2)
        #expect(best([node(1, slots: 2, running: 1), node(2, slots: 2, pull: 1_000_000_000)]) == 1)
    }

    @Test func `short steps stay where their inputs are`() {
        #expect(best([node(1, slots: 2, running: 1), node(2, slots: 2, pull: 20_000_000)], seconds: 0.05) == 1)
    }

    @Test func `the score is the longer of waiting and pulling, then running`() {
        let ranked = Placement.rank(node(2, slots: 2, running: 2, queued: 2, pull: 100_000_000), runSeconds: 4)
        #expect(ranked.queueDelaySeconds == 6)
        #expect(ranked.pullSeconds == 1)
        #expect(ranked.runSeconds == 6)
        #expect(ranked.scoreSeconds == 12)
    }

    @Test func `without home among them equal nodes are chosen by the key alone`() {
        let candidates = [node(2), node(3), node(4)]
        let first = best(candidates)
        #expect(best(candidates.reversed()) == first)
        let winners = (0..<60).map { byte in
            Placement.rank(candidates, runSeconds: 1, home: home, key: Digest.of([UInt8(byte)])).first?.candidate.peer
        }
        #expect(Set(winners).count == 3)
    }

    @Test func `run times are learned by coarse name`() {
        var estimates = RunTimeEstimates()
        #expect(RunTimeEstimates.coarse("RUN make -j8  all") == RunTimeEstimates.coarse("RUN make -j16 all"))
        #expect(estimates.expected("x") == Placement.runSecondsDefault)
        estimates.record("x", seconds: 10)
        estimates.record("x", seconds: 20)
        #expect(abs(estimates.expected("x") - 13) < 0.001)
        // What a peer may say that no step takes.
        for seconds in [Double.nan, .infinity, -1] { estimates.record("x", seconds: seconds) }
        estimates.record("y", seconds: .nan)
        #expect(abs(estimates.expected("x") - 13) < 0.001)
        #expect(estimates.expected("y") == Placement.runSecondsDefault)
    }
}
