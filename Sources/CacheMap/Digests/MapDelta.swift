internal import ClusterModel

/// Changes of a digest between two sequences: truncated hashes that came and went.
package struct MapDelta: Hashable, Sendable {
    package let epoch: UInt32
    /// The digest's sequence after this delta; it applies to `sequence` − 1.
    package let sequence: UInt32
    let adds: [UInt64]
    let removes: [UInt64]

    /// Top bits of a hash that a delta carries: two of 100,000 keys share them in one of 200 clusters.
    static let hashBits: UInt64 = 40
    private static let hashBytes = 5
    private static let headerBytes = 1 + 4 + 4 + 3 + 3
    /// Hashes in one delta: a user record.
    package static let hashesMax = (DigestPage.encodedBytesMax - headerBytes) / hashBytes

    /// The part of a hash that deltas know it by.
    static func truncated(_ hash: UInt64) -> UInt64 { hash >> (64 - hashBits) }

    init(epoch: UInt32, sequence: UInt32, adds: [UInt64], removes: [UInt64]) {
        self.epoch = epoch
        self.sequence = sequence
        self.adds = adds
        self.removes = removes
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(epoch)
        writer.append(sequence)
        for list in [adds, removes] {
            writer.appendVarint(list.count)
            for hash in list {
                writer.append(UInt8(truncatingIfNeeded: hash >> 32))
                writer.append(UInt32(truncatingIfNeeded: hash))
            }
        }
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        epoch = try reader.read()
        sequence = try reader.read()
        guard sequence > 0 else { throw .invalid(field: "delta sequence") }
        adds = try Self.hashes(from: &reader, limit: Self.hashesMax)
        removes = try Self.hashes(from: &reader, limit: Self.hashesMax - adds.count)
    }

    private static func hashes(from reader: inout ByteReader, limit: Int) throws(CodecError) -> [UInt64] {
        let count = try reader.readVarint("delta hashes", limit: limit)
        guard reader.remaining >= count * hashBytes else { throw .truncated }
        var hashes: [UInt64] = []
        hashes.reserveCapacity(count)
        for _ in 0..<count {
            let top: UInt8 = try reader.read()
            let rest: UInt32 = try reader.read()
            hashes.append(UInt64(top) << 32 | UInt64(rest))
        }
        return hashes
    }
}
