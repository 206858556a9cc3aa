package import ClusterModel
package import OCI

/// A node that could run a segment, with what it said of itself when it was asked.
package struct Candidate: Hashable, Sendable {
    package var peer: PeerID
    package var slots: Int
    package var running: Int
    /// Segments waiting for a slot there.
    package var queued: Int
    /// Bytes of inputs that the node lacks.
    package var bytesToPull: Int64
    /// Measured rate from the inputs' holders to the node, in bytes a second.
    package var linkRate: Double
    /// Relative speed of the node's processors; 1 is usual.
    package var speed: Double
    /// Whether it holds all of the segment's primary input.
    package var holdsPrimaryInput: Bool

    package init(
        peer: PeerID, slots: Int, running: Int, queued: Int, bytesToPull: Int64, linkRate: Double, speed: Double = 1,
        holdsPrimaryInput: Bool = false
    ) {
        self.peer = peer
        self.slots = slots
        self.running = running
        self.queued = queued
        self.bytesToPull = bytesToPull
        self.linkRate = linkRate
        self.speed = speed
        self.holdsPrimaryInput = holdsPrimaryInput
    }
}

/// A candidate with the terms of its score.
package struct RankedCandidate: Hashable, Sendable {
    package var candidate: Candidate
    package var queueDelaySeconds: Double
    package var pullSeconds: Double
    package var runSeconds: Double

    /// `max(queue delay, pull time) + run time`: pulling goes on while the segment waits for its slot.
    package var scoreSeconds: Double { max(queueDelaySeconds, pullSeconds) + runSeconds }
}

/// Dynamic list scheduling of one segment: locality and load in one unit, seconds; the least wins.
package enum Placement {
    /// How much slower a step runs on a node whose slots are all busy: cores, memory and disk are shared.
    package static let contention = 0.5
    /// Scores closer than this are a tie: estimates are not better than that.
    package static let tieSeconds = 0.02
    /// Candidates that are asked before a segment is placed; the gossiped load of the rest is too old to matter.
    package static let askedMax = 3
    /// Assumed until pulls were measured: a 1 Gbit/s link.
    package static let linkRateDefault = 100_000_000.0
    /// Assumed for a step that never ran, in seconds.
    package static let runSecondsDefault = 2.0

    /// The score of one candidate for work of `runSeconds` on an idle node of speed 1.
    package static func rank(_ candidate: Candidate, runSeconds: Double) -> RankedCandidate {
        let slots = Double(max(1, candidate.slots))
        let ahead = Double(candidate.running + candidate.queued) - slots + 1
        // With a free slot there is no wait; else the k-th in line waits for k of the node's slots to finish.
        let delay = ahead > 0 ? ahead / slots * runSeconds : 0
        let share = min(1, Double(candidate.running) / slots)
        return RankedCandidate(
            candidate: candidate, queueDelaySeconds: delay,
            pullSeconds: Double(candidate.bytesToPull) / max(1, candidate.linkRate),
            runSeconds: runSeconds * (1 + contention * share) / max(0.01, candidate.speed))
    }

    /// The candidates, best first.
    ///
    /// Ties go to the holder of the primary input, then to the home node, which has the client, then by rendezvous hash
    /// of the segment's key, so that equal work of different homes meets.
    package static func rank(
        _ candidates: [Candidate], runSeconds: Double, home: PeerID, key: Digest
    ) -> [RankedCandidate] {
        let ranked = candidates.map { rank($0, runSeconds: runSeconds) }
        let best = ranked.map(\.scoreSeconds).min() ?? 0
        let isTie: (RankedCandidate) -> Bool = { $0.scoreSeconds <= best + tieSeconds }
        return ranked.sorted { left, right in
            let ties = (isTie(left), isTie(right))
            if ties.0 != ties.1 { return ties.0 }
            if !ties.0, left.scoreSeconds != right.scoreSeconds { return left.scoreSeconds < right.scoreSeconds }
            let first = left.candidate
            let second = right.candidate
            if first.holdsPrimaryInput != second.holdsPrimaryInput { return first.holdsPrimaryInput }
            if (first.peer == home) != (second.peer == home) { return first.peer == home }
            let weights = (
                RendezvousHash.weight(of: first.peer, for: key), RendezvousHash.weight(of: second.peer, for: key)
            )
            return weights.0 != weights.1 ? weights.0 > weights.1 : first.peer < second.peer
        }
    }
}
