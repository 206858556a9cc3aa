package import ClusterModel

/// Whether a peer that owes an answer is giving it: neither silent for long, nor drop by drop.
package struct ProgressWatch: Sendable {
    package enum Sign: Sendable, Hashable {
        /// The peer serves others first: it lives, and nothing more is asked of it.
        case waiting
        /// Bytes, as they crossed the link, of an answer that is not whole yet.
        case part(bytes: Int)
        /// All of an answer.
        case answer
    }

    private let limits: TransferLimits
    private var lastHeard: MonotonicInstant
    private var periodStart: MonotonicInstant
    /// Of the answer that is under way.
    private var periodBytes = 0

    /// Begins when the peer is asked.
    package init(_ limits: TransferLimits, at now: MonotonicInstant) {
        self.limits = limits
        (lastHeard, periodStart) = (now, now)
    }

    package mutating func note(_ sign: Sign, at now: MonotonicInstant) {
        lastHeard = now
        switch sign {
        case .part(let bytes): periodBytes += bytes
        case .waiting, .answer: (periodStart, periodBytes) = (now, 0)
        }
    }

    /// Whether the peer is to be given up; where a period is over, the next one begins.
    package mutating func isStalled(at now: MonotonicInstant) -> Bool {
        if now - lastHeard > limits.silence { return true }
        guard now - periodStart > limits.ratePeriod else { return false }
        let isTooSlow = Double(periodBytes) < Double(limits.leastRate) * limits.ratePeriod.inSeconds
        (periodStart, periodBytes) = (now, 0)
        return isTooSlow
    }

    /// Until then `isStalled` says no, unless it has said yes.
    package var nextLook: MonotonicInstant { min(lastHeard + limits.silence, periodStart + limits.ratePeriod) }
}
