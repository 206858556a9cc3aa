package import ClusterModel

/// What is known of the addresses that datagrams come from and go to: who is there, and whether that is proved.
///
/// Two questions are answered from it. *Whom to bind a packet to:* the node and boot that was heard, or that the member
/// table names, as long as it does not look as if somebody else were there now. *How much may be sent:* to an address
/// that has not shown that it hears this node, no more bytes than came from it, so that a packet with a made-up source
/// makes nobody a target.
package struct HeardPeers: Sendable {
    /// A node that was silent for this long may have been replaced by another at its address.
    static let freshFor: Duration = .seconds(600)
    /// Packets in a row without a sign of life after which they are no longer bound: the node may have started anew.
    static let unansweredMax = 8
    static let addressesMax = 4_096

    private struct Entry {
        var receiver: DatagramSeal.Receiver
        var heardAt: ContinuousClock.Instant
        var unanswered = 0
        /// It sent something that only a hearer of this node can have made, or this node began to talk to it.
        var isValidated: Bool
        /// Bytes that may still be sent to it while it is not validated.
        var credit = 0
    }

    private var entries: [PeerAddress: Entry] = [:]

    package init() {}

    package var count: Int { entries.count }

    /// A packet of `bytes` bytes came from `address`.
    package mutating func heard(
        _ sender: DatagramSeal.Receiver, at address: PeerAddress, bytes: Int, isBound: Bool,
        now: ContinuousClock.Instant
    ) {
        guard makeRoom(for: address, now) else { return }
        var entry = entries[address] ?? Entry(receiver: sender, heardAt: now, isValidated: false)
        // A bound packet proves the address for its sender; anybody else there has to prove it anew.
        entry.isValidated = isBound || entry.isValidated && entry.receiver.node == sender.node
        entry.receiver = sender
        entry.heardAt = now
        entry.unanswered = 0
        if !entry.isValidated { entry.credit = min(entry.credit + bytes, WireLimits.datagramBytesMax) }
        entries[address] = entry
    }

    /// A packet of `bytes` bytes of an earlier start of `sender`'s node came from `address`; says whether it may be
    /// answered.
    ///
    /// Its sender may live there still, behind a copy of its root directory that started later; or it is a replay from a
    /// made-up address. So it proves nothing, and takes no address from anybody.
    package mutating func heardStale(
        _ sender: DatagramSeal.Receiver, at address: PeerAddress, bytes: Int, now: ContinuousClock.Instant
    ) -> Bool {
        if let known = entries[address] {
            guard known.receiver == sender else { return false }
        }
        heard(sender, at: address, bytes: bytes, isBound: false, now: now)
        return entries[address] != nil
    }

    /// The member table says who is at `address`.
    package mutating func know(_ member: DatagramSeal.Receiver, at address: PeerAddress, now: ContinuousClock.Instant) {
        if let entry = entries[address], entry.receiver.node == member.node, entry.receiver.bootID >= member.bootID {
            return
        }
        guard makeRoom(for: address, now) else { return }
        entries[address] = Entry(receiver: member, heardAt: now, isValidated: true)
    }

    /// What may go to an address.
    package enum Permit: Hashable, Sendable {
        /// Nothing of that size before it has proved itself.
        case withheld
        /// To whoever is there; the address may have been `heard` or named before.
        case open(isKnown: Bool)
        /// Bound to this node and boot.
        case bound(DatagramSeal.Receiver)
    }

    /// Whether a packet of `bytes` may go to `address` now, and bound to whom; takes it from the address's credit and
    /// counts it as sent.
    package mutating func permit(_ bytes: Int, to address: PeerAddress, now: ContinuousClock.Instant) -> Permit {
        guard let index = entries.index(forKey: address) else { return .open(isKnown: false) }
        if !entries.values[index].isValidated {
            guard entries.values[index].credit >= bytes else { return .withheld }
            entries.values[index].credit -= bytes
        }
        entries.values[index].unanswered += 1
        let entry = entries.values[index]
        guard entry.unanswered <= Self.unansweredMax, entry.heardAt.duration(to: now) < Self.freshFor else {
            return .open(isKnown: entry.isValidated)
        }
        return .bound(entry.receiver)
    }

    private mutating func makeRoom(for address: PeerAddress, _ now: ContinuousClock.Instant) -> Bool {
        guard entries.count >= Self.addressesMax, entries[address] == nil else { return true }
        entries = entries.filter { $0.value.heardAt.duration(to: now) < Self.freshFor }
        return entries.count < Self.addressesMax
    }
}
