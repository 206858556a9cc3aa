package import ClusterModel

/// What became of a member, with the member as it is now.
package struct MemberChange: Hashable, Sendable {
    package var kind: Kind
    package var member: Member

    package enum Kind: String, Sendable, Hashable {
        case joined
        /// The same node came back with a higher boot id.
        case restarted
        /// Metadata changed.
        case updated
        case suspected
        /// A suspect refuted.
        case refuted
        case died
        /// Was dead here, and is alive: a partition healed.
        case returned
        case left
        /// Load record changed.
        case load
        /// Holdings changed.
        case holdings
        /// Its condition changed: stalled, reached by streams only, or well again.
        case condition
    }
}

extension MemberChange {
    /// That a member is gone for this process, which gave up its identity and hears of nobody any more.
    package init(leaving member: Member) {
        kind = .left
        self.member = member
        self.member.state = .left
    }
}

/// What an operator should know of the protocol itself.
package enum GossipNotice: Hashable, Sendable {
    /// A seed did not answer for the first time; it is tried again for ever.
    case seedUnreachable(PeerAddress)
    /// A seed answered, after failures or for the first time.
    case seedReached(PeerAddress, PeerID)
    /// Another process speaks with this node's id and a higher boot id: a cloned root directory.
    case identityConflict(PeerAddress)
    /// The process at this address keeps the identity; this one says nothing more to anybody.
    case identityGivenUp(PeerAddress)
    /// This node's own loop was stopped or overloaded for about this long; its probes were void.
    case loopWasLate(Duration)
    /// User records left the queue unsent because it was full.
    case userRecordsDropped(Int)
    /// Members see this node's datagrams come from this address, which is none of those that it advertises.
    case advertisedAddressDiffers(seenAt: PeerAddress)
    /// This node's datagrams do not get through; streams do.
    case datagramsBlocked
    /// The table has as many members as it may, all of them up; newcomers are not seen.
    case tableFull(members: Int)
    /// A datagram or state message that no member writes; dropped.
    case malformed(from: PeerAddress?, CodecError)
}
