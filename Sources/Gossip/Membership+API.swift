package import ClusterModel

extension Membership {
    /// What happened.
    ///
    /// Times are given beside the event.
    package enum Event: Sendable {
        /// Starts the protocol, or replaces the seed addresses of a running one.
        case join(seeds: [PeerAddress])
        /// The answer to `.lookUpSeeds`: all addresses that the seeds' names mean now; replaces the former ones.
        case seedsResolved([PeerAddress])
        /// A datagram whose seal was good: its plaintext, where it came from, and who the seal says sent it.
        case datagram([UInt8], from: PeerAddress, sender: PeerID, bootID: UInt64)
        /// The instant of the last `.wake` has come. Late or early is harmless.
        case timer
        /// The kernel or the network refused a datagram to this address: counts as a try that failed.
        case sendFailed(to: PeerAddress)
        /// The answer to `.connect`.
        case connectFinished(token: UInt64, ConnectOutcome)
        /// The answer to `.exchange`.
        case exchangeAnswered(ExchangeID, [UInt8])
        /// The stream for `.exchange` could not be opened, broke, or ended without an answer.
        case exchangeFailed(ExchangeID)
        /// Another member asks for an exchange; `token` comes back in the answer.
        case exchangeRequested(token: UInt64, [UInt8])
        /// This node's load; `sequence` and the flags that the membership sets itself are filled in here.
        case loadChanged(LoadRecord)
        case holdingsChanged(Holdings)
        /// Root over the cache maps that this node knows; equal maps have equal roots.
        case mapRootChanged(UInt32)
        case draining(Bool)
        /// New metadata (at most `MemberMetadata.encodedBytesMax`); others learn it by a raised incarnation.
        case metadataChanged(MemberMetadata)
        /// Unix time minus the monotonic clock, read again; see `ProbeSchedule`. Any jump is harmless.
        case wallClockRead(offset: Duration)
        /// Spreads an opaque record of 1...`publishBytesMax` bytes to all members, at best effort: an urgent one is
        /// pushed at once, another rides on what is sent anyway and is pushed after `batchDelay` with its like.
        case publish([UInt8], isUrgent: Bool)
        /// Sends 1...`directBytesMax` bytes to one member in one datagram, at best effort.
        case sendDirect([UInt8], to: PeerID)
        /// The answer to `.bootWanted`: from here on all that this node sends is sealed under this boot id, which is
        /// written down.
        case bootTaken(UInt64)
        /// Says good-bye; `.leaveFinished` follows.
        case leave
    }

    /// What to do, in this order.
    package enum Effect: Sendable, Hashable {
        /// At most `datagramBytesMax` plaintext bytes.
        case send([UInt8], to: PeerAddress)
        /// Deliver `.timer` at this instant. Replaces the former wake.
        case wake(at: MonotonicInstant)
        /// Look the seeds' names up and say `.seedsResolved`, with no addresses when that fails.
        case lookUpSeeds
        /// Open a TCP connection, ask for the process's boot id if the kernel accepts it, close it, and say
        /// `.connectFinished` with what is known after `within` at the latest.
        case connect(token: UInt64, to: PeerAddress, peer: PeerID, within: Duration)
        /// Open a stream, send this one message, and give back the one answer or the failure.
        case exchange(ExchangeID, to: PeerAddress, expecting: PeerID?, [UInt8])
        /// The answer to `.exchangeRequested`; nil resets the stream.
        case answerExchange(token: UInt64, [UInt8]?)
        case report(MemberChange)
        case notice(GossipNotice)
        /// A user record of another member, once each.
        case deliver([UInt8], from: PeerID)
        /// A datagram that a member sent to this node alone.
        case deliverDirect([UInt8], from: PeerID)
        /// This member's map root has differed from this node's for more than 2 periods: fetch what is missing.
        case mapRootDiffers(PeerID)
        /// The members to remember for a rejoin, most useful first.
        case persist([MemberSnapshot])
        /// Another process uses this node's identity under this boot id: take a higher one and say `.bootTaken`.
        ///
        /// Until then the others take the other process for this node.
        case bootWanted(above: UInt64)
        /// The leave has been told; the process may end.
        case leaveFinished
    }

    /// What a TCP connection to a member showed: evidence that datagrams cannot give.
    package enum ConnectOutcome: Hashable, Sendable {
        /// The host lives and says that nobody listens (RST): the process is gone.
        case refused
        /// The kernel accepted, the process said nothing in time: it is stopped or overloaded, not gone.
        case accepted
        /// The process answered: only datagrams do not get through.
        case answered(bootID: UInt64)
        /// Nothing came back in time.
        case silent
        /// The network says that there is no way (ICMP).
        case unreachable
    }

    /// Names one outgoing exchange.
    package struct ExchangeID: Hashable, Sendable {
        package let rawValue: UInt64
    }
}
