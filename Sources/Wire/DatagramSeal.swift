package import ClusterKeys
package import Sodium

/// The envelope of datagrams: who may read them, who sent them, and that they are whole.
///
/// | offset | size | field |
/// | --- | --- | --- |
/// | 0 | 1 | version (high 4 bits), flags (low 4 bits; 1: bound to the receiver; 2: padded) |
/// | 1 | 1 | key id |
/// | 2 | 2 | cluster tag: what is not ours is dropped before any cryptography |
/// | 4 | 24 | node id, boot id, counter, big-endian: the nonce |
/// | 28 | n | sealed records; when padded, 0x80 and zeros behind them |
/// | 28 + n | 16 | tag |
///
/// Authenticated besides: the header, the cluster's name, and, when bound, the receiver's node and boot id: such a
/// packet opens at that node only, and not after its restart. The counter goes on when keys change, and a boot id is
/// never taken twice, so no nonce meets a key again.
package struct DatagramSeal: Sendable {
    /// What sealing adds to a datagram.
    package static let overhead = headerBytes + SealingKey.tagBytes
    static let headerBytes = 28
    private static let version: UInt8 = 1
    private static let boundFlag: UInt8 = 1
    private static let paddedFlag: UInt8 = 2
    private static let paddingMark: UInt8 = 0x80
    /// Key id and tag of keys that were dropped while this node ran: told from strangers by them.
    private static let goneMax = 8

    /// Whom a packet is for.
    package struct Receiver: Hashable, Sendable {
        package let node: UInt64
        package let bootID: UInt64

        package init(node: UInt64, bootID: UInt64) {
            self.node = node
            self.bootID = bootID
        }
    }

    private struct Label: Hashable {
        let id: UInt8
        let tag: UInt16
    }

    private struct Key {
        let label: Label
        let fingerprint: KeyFingerprint
        let sealing: SealingKey
        let retiredUntil: UInt64?
    }

    /// What an opened packet says of itself.
    package struct Opened: Hashable, Sendable {
        package let node: UInt64
        package let bootID: UInt64
        package let counter: UInt64
        /// Made for this node since its start: its source address is not made up.
        package let isBound: Bool
        package let key: KeyFingerprint
        /// The key that this node seals with.
        package let isPrimary: Bool
        /// The key is in its grace.
        package let isRetired: Bool
    }

    package enum Result: Hashable, Sendable {
        /// The packet's array holds the records alone now.
        case opened(Opened)
        case dropped(DatagramDrop)
    }

    private var keys: [Key] = []
    private var gone: [Label] = []
    private let clusterName: [UInt8]
    private var own: Receiver
    private var counter: UInt64 = 0
    /// Header, cluster name, receiver: filled anew for each packet, allocated once.
    private var associated: [UInt8]

    package init(keys ring: ClusterKeyRing, clusterName: String, node: UInt64, bootID: UInt64) throws {
        self.clusterName = Array(clusterName.utf8)
        own = Receiver(node: node, bootID: bootID)
        associated =
            [UInt8](repeating: 0, count: Self.headerBytes) + self.clusterName + [UInt8](repeating: 0, count: 16)
        try replaceKeys(ring)
    }

    /// Takes another ring; what its first key is seals from now on.
    package mutating func replaceKeys(_ ring: ClusterKeyRing) throws {
        let fresh = try ring.entries.map { entry in
            let tag = KeyedHash.hash(Array("cluster tag ".utf8) + clusterName, key: entry.key.secret)
            return Key(
                label: Label(id: entry.key.id, tag: UInt16(tag[0]) << 8 | UInt16(tag[1])),
                fingerprint: entry.fingerprint, sealing: SealingKey(try entry.key.derive("peerbuild datagram 1")),
                retiredUntil: entry.retiredUntil)
        }
        gone += keys.map(\.label).filter { label in !fresh.contains { $0.label == label } }
        gone.removeAll { label in fresh.contains { $0.label == label } }
        gone = gone.suffix(Self.goneMax)
        keys = fresh
    }

    /// Seals under a higher boot id from now on, and opens what is bound to it, no more what was bound to the one before.
    mutating func takeBootID(_ bootID: UInt64) { own = Receiver(node: own.node, bootID: bootID) }

    /// Seals `bytes` with the next counter.
    ///
    /// `receiver` binds it; `packetBytes` pads the packet to that size.
    package mutating func seal(_ bytes: [UInt8], for receiver: Receiver?, paddedTo packetBytes: Int = 0) -> [UInt8] {
        let key = keys[0]
        let padding = max(0, packetBytes - bytes.count - Self.overhead)
        let plain = bytes.count + padding
        counter += 1
        let packet = [UInt8](unsafeUninitializedCapacity: plain + Self.overhead) { buffer, count in
            var flags = Self.version << 4
            if receiver != nil { flags |= Self.boundFlag }
            if padding > 0 { flags |= Self.paddedFlag }
            buffer[0] = flags
            buffer[1] = key.label.id
            buffer[2] = UInt8(key.label.tag >> 8)
            buffer[3] = UInt8(truncatingIfNeeded: key.label.tag)
            Self.put(own.node, at: 4, in: buffer)
            Self.put(own.bootID, at: 12, in: buffer)
            Self.put(counter, at: 20, in: buffer)
            _ = buffer[Self.headerBytes...].update(fromContentsOf: bytes)
            if padding > 0 {
                buffer[(Self.headerBytes + bytes.count)...].update(repeating: 0)
                buffer[Self.headerBytes + bytes.count] = Self.paddingMark
            }
            count = plain + Self.overhead
            associate(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<Self.headerBytes]), receiver)
            key.sealing.seal(
                buffer, range: Self.headerBytes..<Self.headerBytes + plain, nonceAt: 4, authenticating: associated)
        }
        return packet
    }

    /// Says why a packet is not worth a look into it; nil when it has to be opened.
    ///
    /// Costs no cryptography and no copy.
    package func rejects(_ packet: UnsafeRawBufferPointer, now: UInt64) -> DatagramDrop? {
        guard packet.count >= Self.overhead else { return .truncated }
        guard packet.count <= WireLimits.datagramBytesMax + Self.overhead else { return .oversized }
        guard packet[0] >> 4 == Self.version, packet[0] & 15 <= Self.boundFlag | Self.paddedFlag else {
            return .unknownVersion
        }
        let label = Self.label(packet)
        var wasRetired = gone.contains(label)
        for key in keys where key.label == label {
            guard let until = key.retiredUntil, until <= now else { return nil }
            wasRetired = true
        }
        return wasRetired ? .retiredKey : .foreign
    }

    /// Opens a packet in place.
    package mutating func open(_ packet: inout [UInt8], now: UInt64) -> Result {
        if let cause = packet.withUnsafeBytes({ rejects($0, now: now) }) { return .dropped(cause) }
        let label = packet.withUnsafeBytes { Self.label($0) }
        let flags = packet[0] & 15
        let isBound = flags & Self.boundFlag != 0
        packet.withUnsafeBytes { bytes in
            associate(UnsafeRawBufferPointer(rebasing: bytes[..<Self.headerBytes]), isBound ? own : nil)
        }
        for (index, key) in keys.enumerated() where key.label == label {
            if let until = key.retiredUntil, until <= now { continue }
            guard
                let range = key.sealing.open(
                    &packet, range: Self.headerBytes..<packet.count, nonceAt: 4, authenticating: associated)
            else { continue }
            let opened = packet.withUnsafeBytes { bytes in
                Opened(
                    node: Self.number(bytes, at: 4), bootID: Self.number(bytes, at: 12),
                    counter: Self.number(bytes, at: 20), isBound: isBound, key: key.fingerprint,
                    isPrimary: index == 0, isRetired: key.retiredUntil != nil)
            }
            var end = range.upperBound
            if flags & Self.paddedFlag != 0 {
                guard let mark = packet[range].lastIndex(where: { $0 != 0 }), packet[mark] == Self.paddingMark else {
                    return .dropped(.forged)
                }
                end = mark
            }
            packet.removeLast(packet.count - end)
            packet.removeFirst(Self.headerBytes)
            return .opened(opened)
        }
        return .dropped(.forged)
    }

    // MARK: Bytes

    private mutating func associate(_ header: UnsafeRawBufferPointer, _ receiver: Receiver?) {
        let nameBytes = clusterName.count
        associated.withUnsafeMutableBufferPointer { target in
            for index in header.indices { target[index] = header[index] }
            Self.put(receiver?.node ?? 0, at: Self.headerBytes + nameBytes, in: target)
            Self.put(receiver?.bootID ?? 0, at: Self.headerBytes + nameBytes + 8, in: target)
        }
    }

    private static func label(_ packet: UnsafeRawBufferPointer) -> Label {
        Label(id: packet[1], tag: UInt16(packet[2]) << 8 | UInt16(packet[3]))
    }

    private static func put(_ number: UInt64, at offset: Int, in buffer: UnsafeMutableBufferPointer<UInt8>) {
        for index in 0..<8 { buffer[offset + index] = UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * index)) }
    }

    private static func number(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
        UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}
