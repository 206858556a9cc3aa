internal import Sodium

/// The envelope of datagrams: who may read them, who sent them, and that they are whole.
///
/// | offset | size | field |
/// | --- | --- | --- |
/// | 0 | 1 | version (high 4 bits), flags (low 4 bits; 1: bound to the receiver's node id) |
/// | 1 | 1 | key id |
/// | 2 | 2 | cluster tag |
/// | 4 | 24 | node id, boot id, counter, big-endian: the nonce |
/// | 28 | n | sealed records |
/// | 28 + n | 16 | tag |
///
/// Authenticated besides: the header, the cluster's name, and the receiver's node id when the flag says so, which keeps
/// a packet from being replayed to a third node. A sender sets it for addresses that it has heard from lately.
package struct DatagramSeal: Sendable {
    /// What sealing adds to a datagram.
    package static let overhead = headerBytes + SealingKey.tagBytes
    static let headerBytes = 28
    private static let version: UInt8 = 1
    private static let boundFlag: UInt8 = 1

    struct Key: Sendable {
        let id: UInt8
        let tag: UInt16
        let sealing: SealingKey
    }

    struct Opened: Equatable {
        let node: UInt64
        let bootID: UInt64
        let counter: UInt64
        let bytes: [UInt8]
    }

    private let keys: [Key]
    private let clusterName: [UInt8]
    private let node: UInt64
    private let bootID: UInt64
    private var counter: UInt64 = 0

    init(keys ring: ClusterKeyRing, clusterName: String, node: UInt64, bootID: UInt64) throws {
        let name = Array(clusterName.utf8)
        keys = try ring.keys.map { key in
            let tag = KeyedHash.hash(Array("cluster tag ".utf8) + name, key: key.secret)
            return Key(
                id: key.id, tag: UInt16(tag[0]) << 8 | UInt16(tag[1]),
                sealing: SealingKey(try key.derive("peerbuild datagram 1")))
        }
        self.clusterName = name
        self.node = node
        self.bootID = bootID
    }

    /// Seals `bytes` with the next counter; `receiver` binds it to that node.
    mutating func seal(_ bytes: [UInt8], for receiver: UInt64?) -> [UInt8] {
        let key = keys[0]
        counter += 1
        var packet: [UInt8] = []
        packet.reserveCapacity(bytes.count + Self.overhead)
        packet.append(Self.version << 4 | (receiver == nil ? 0 : Self.boundFlag))
        packet.append(key.id)
        packet.append(number: key.tag)
        packet.append(number: node)
        packet.append(number: bootID)
        packet.append(number: counter)
        let header = Array(packet)
        packet += bytes
        packet.append(contentsOf: repeatElement(0, count: SealingKey.tagBytes))
        key.sealing.seal(
            &packet, range: Self.headerBytes..<Self.headerBytes + bytes.count, nonce: Array(header[4...]),
            authenticating: associatedData(header, receiver))
        return packet
    }

    /// Opens a packet; nil when it is not from this cluster, not for this node, or damaged.
    func open(_ packet: [UInt8]) -> Opened? {
        guard packet.count >= Self.overhead, packet[0] >> 4 == Self.version, packet[0] & 15 <= Self.boundFlag else {
            return nil
        }
        let header = Array(packet[..<Self.headerBytes])
        var reader = ByteReader(header)
        _ = reader.take(2)
        guard let tag = reader.number(UInt16.self), let sender = reader.number(UInt64.self),
            let boot = reader.number(UInt64.self), let number = reader.number(UInt64.self)
        else { return nil }
        let receiver = header[0] & Self.boundFlag == 0 ? nil : node
        let data = associatedData(header, receiver)
        for key in keys where key.id == header[1] && key.tag == tag {
            var copy = packet
            if let range = key.sealing.open(
                &copy, range: Self.headerBytes..<copy.count, nonce: Array(header[4...]), authenticating: data)
            {
                return Opened(node: sender, bootID: boot, counter: number, bytes: Array(copy[range]))
            }
        }
        return nil
    }

    private func associatedData(_ header: [UInt8], _ receiver: UInt64?) -> [UInt8] {
        var data = header
        data += clusterName
        data.append(number: receiver ?? 0)
        return data
    }
}
