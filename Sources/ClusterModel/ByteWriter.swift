/// Builds a message of the peer plane: big-endian integers, varint lengths, bounded text.
package struct ByteWriter: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init(capacity: Int = 64) { bytes.reserveCapacity(capacity) }

    // One function a width, for the reason that `ByteReader` gives.

    package mutating func append(_ value: UInt8) { bytes.append(value) }

    package mutating func append(_ value: UInt16) { append(UInt64(value), width: 2) }

    package mutating func append(_ value: UInt32) { append(UInt64(value), width: 4) }

    package mutating func append(_ value: UInt64) { append(value, width: 8) }

    private mutating func append(_ value: UInt64, width: Int) {
        for index in 1...width { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - index)))) }
    }

    package mutating func append(contentsOf more: [UInt8]) { bytes.append(contentsOf: more) }

    package mutating func append(contentsOf more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

    /// Seven bits a byte, lowest first, high bit set on all but the last (LEB128).
    package mutating func appendVarint(_ value: Int) {
        var rest = UInt64(max(0, value))
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// A varint length and the bytes.
    package mutating func appendBlock(_ block: [UInt8]) {
        appendVarint(block.count)
        bytes.append(contentsOf: block)
    }

    package mutating func appendBlock(_ block: some Collection<UInt8>) {
        appendVarint(block.count)
        bytes.append(contentsOf: block)
    }

    package mutating func append(text: String) { appendBlock(text.utf8) }

    package mutating func append(_ address: PeerAddress) {
        append(text: address.host)
        append(address.port)
    }
}
