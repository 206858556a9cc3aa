package import ClusterModel

extension Membership {
    /// What happened.
    ///
    /// Times are given beside the event.
    package enum Event: Sendable {
        /// Starts the protocol, or replaces the seed addresses of a running one (names were looked up again).
        case join(seeds: [PeerAddress])
        /// A datagram whose seal was good.
        case datagram([UInt8], from: PeerAddress)
        /// The instant of the last `.wake` has come. Late or early is harmless.
        case timer
        /// The answer to `.exchange`.
        case exchangeAnswered(ExchangeID, [UInt8])
        /// The stream for `.exchange` could not be opened, broke, or ended without an answer.
        case exchangeFailed(ExchangeID)
        /// Another member asks for an exchange; `token` comes back in the answer.
        case exchangeRequested(token: UInt64, [UInt8])
        /// This node's load; `sequence` and the draining flag are filled in here.
        case loadChanged(LoadRecord)
        case draining(Bool)
        /// New metadata (at most `MemberMetadata.encodedBytesMax`); others learn it by a raised incarnation.
        case metadataChanged(MemberMetadata)
        /// Spreads an opaque record of 1...`publishBytesMax` bytes to all members, at best effort.
        case publish([UInt8])
        /// Says good-bye; `.leaveFinished` follows.
        case leave
    }

    /// What to do, in this order.
    package enum Effect: Sendable, Hashable {
        /// At most `datagramBytesMax` plaintext bytes.
        case send([UInt8], to: PeerAddress)
        /// Deliver `.timer` at this instant. Replaces the former wake.
        case wake(at: MonotonicInstant)
        /// Open a stream, send this one message, and give back the one answer or the failure.
        case exchange(ExchangeID, to: PeerAddress, expecting: PeerID?, [UInt8])
        /// The answer to `.exchangeRequested`; nil resets the stream.
        case answerExchange(token: UInt64, [UInt8]?)
        case report(MemberChange)
        case notice(GossipNotice)
        /// A user record of another member, once each.
        case deliver([UInt8], from: PeerID)
        /// The members to remember for a rejoin, most useful first.
        case persist([MemberSnapshot])
        /// The leave has been told; the process may end.
        case leaveFinished
    }

    /// Names one outgoing exchange.
    package struct ExchangeID: Hashable, Sendable {
        package let rawValue: UInt64
    }
}
