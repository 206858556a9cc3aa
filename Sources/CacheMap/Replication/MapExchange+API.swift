package import ClusterModel

extension MapExchange {
    /// What happened.
    ///
    /// Times are given beside the event.
    package enum Event: Sendable {
        /// Results are durable: their keys may be announced.
        case added([MapEntry])
        /// Results were used now, as their entries say: what is published above the budget follows from it.
        case used([MapEntry])
        /// Results will be deleted, one protocol period from now or later.
        case removed([CacheKey])
        /// A user record of gossip, by its origin's present boot.
        case delivered([UInt8], from: PeerID)
        /// A datagram of one member to this one.
        case direct([UInt8], from: PeerID)
        /// A member's ping or ack had another map root.
        case rootDiffers(PeerID)
        /// What became of a member, and how many are live, this node included.
        case member(PeerID, isLive: Bool, bootID: UInt64, clusterSize: Int)
        /// One message of the answer to `.fetch`.
        case fetched(FetchID, [UInt8])
        /// The stream of `.fetch` ended, or could not be opened, or broke.
        case fetchEnded(FetchID)
        /// A member asks by stream; `token` comes back in the answer.
        case requested(token: UInt64, [UInt8])
        /// The instant of the last `.wake` has come. Late or early is harmless.
        case timer
        /// Exact answers of a peer that its digest was asked for.
        case answered(PeerID, confirmed: Int, denied: Int)
    }

    /// What to do, in this order.
    package enum Effect: Sendable, Hashable {
        /// Spread a user record to all members; urgent ones wait for nothing.
        case publish([UInt8], isUrgent: Bool)
        /// Send a datagram to one member.
        case direct([UInt8], to: PeerID)
        /// Open a stream, send this, and give back each message of the answer, and the end.
        case fetch(FetchID, from: PeerID, [UInt8])
        /// The rest of that answer is not wanted.
        case abandon(FetchID)
        /// The answer to `.requested`, one message each; nil resets the stream.
        case answer(token: UInt64, [[UInt8]]?)
        /// The root over all live nodes' digests, for pings and acks.
        case rootChanged(UInt32)
        /// What to write down for the next start.
        case save(SavedPosition)
        /// Deliver `.timer` at this instant. Replaces the former wake.
        case wake(at: MonotonicInstant)
        case asked(HaveRequest, by: PeerID)
        case answered(HaveAnswer, by: PeerID)
        case notice(MapNotice)
    }

    /// Names one outgoing stream.
    package struct FetchID: Hashable, Sendable {
        package let rawValue: UInt64
    }
}

/// What an operator should know.
package enum MapNotice: Hashable, Sendable {
    case malformed(from: PeerID, CodecError)
    /// Pages that do not cover the hash space, or more than a peer may have.
    case refused(from: PeerID)
    /// The owner's root and the one here differed: everything is fetched again.
    case damaged(PeerID)
    /// Denies far more than its digest's rate explains.
    case unreliable(PeerID)
}

/// Counts since the start.
package struct MapCounters: Hashable, Sendable {
    package var deltasPublished: UInt64 = 0
    package var deltasReceived: UInt64 = 0
    /// Deltas that came before one that they follow.
    package var gaps: UInt64 = 0
    package var rootDifferences: UInt64 = 0
    package var fetches: UInt64 = 0
    package var fetchesFailed: UInt64 = 0
    package var wholeDigests: UInt64 = 0
    package var malformed: UInt64 = 0
    package var refused: UInt64 = 0
    package var damaged: UInt64 = 0
    package var unreliable: UInt64 = 0

    package init() {}
}
