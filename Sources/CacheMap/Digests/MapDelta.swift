package import ClusterModel

/// Changes of a digest between two sequences: short hashes that came and went.
///
/// Frame: epoch 4 · sequence 4 · flags 1 · root 4 · adds · removes. A list: count (varint), and if it is not empty:
/// first hash 4 · parameter 1 · the others as Golomb-Rice coded gaps (length, bytes).
package struct MapDelta: Hashable, Sendable {
    package let epoch: UInt32
    /// The digest's sequence after this delta; it applies to `sequence` − 1.
    package let sequence: UInt32
    /// Low bits of the root after this delta: shows whether it was applied exactly once.
    package let root: UInt32
    /// Only the most valuable keys are published.
    package let isPartial: Bool
    /// Ascending, distinct; no hash is in both.
    let adds: [UInt32]
    let removes: [UInt32]

    /// Frame without lists.
    static let headerBytes = 4 + 4 + 1 + 4
    /// Count, first hash, parameter and length of one list.
    private static let listBytes = 2 + 4 + 1 + 2
    /// Keys of one delta; below a bit each nothing fits.
    static let hashesMax = DigestPage.encodedBytesMax * 8

    /// The part of a hash that deltas know it by: two of 100,000 keys share 32 bits, and owners count.
    static func short(_ hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash >> 32) }

    init(epoch: UInt32, sequence: UInt32, root: UInt32, isPartial: Bool, adds: [UInt32], removes: [UInt32]) {
        self.epoch = epoch
        self.sequence = sequence
        self.root = root
        self.isPartial = isPartial
        self.adds = adds
        self.removes = removes
    }

    /// Encoded size in bytes.
    var byteCount: Int { Self.headerBytes + Self.byteCount(adds) + Self.byteCount(removes) }

    /// How many hashes of the ascending `list` fit into `bytes`, and what they take.
    static func fitting(_ list: ArraySlice<UInt32>, bytes: Int) -> (count: Int, bytes: Int) {
        // Nobody codes a hash in less than half a bit more than its share of 32 bits: a first guess from above.
        var count = min(list.count, max(0, (bytes - listBytes) * 8))
        while count > 0 {
            let size = byteCount(Array(list.prefix(count)))
            if size <= bytes { return (count, size) }
            count = min(count - 1, count * bytes / size + 1)
        }
        return (0, 1)
    }

    private static func byteCount(_ list: [UInt32]) -> Int {
        var writer = ByteWriter()
        encode(list, into: &writer)
        return writer.bytes.count
    }

    // MARK: Coding

    func encode(into writer: inout ByteWriter) {
        writer.append(epoch)
        writer.append(sequence)
        writer.append(UInt8(isPartial ? 1 : 0))
        writer.append(root)
        Self.encode(adds, into: &writer)
        Self.encode(removes, into: &writer)
    }

    private static func parameter(first: UInt32, last: UInt32, count: Int) -> Int {
        count < 2 ? 0 : RiceCoding.best(mean: Double(last - first) / Double(count - 1)).parameter
    }

    private static func encode(_ list: [UInt32], into writer: inout ByteWriter) {
        writer.appendVarint(list.count)
        guard let first = list.first, let last = list.last else { return }
        writer.append(first)
        guard list.count > 1 else { return }
        let parameter = parameter(first: first, last: last, count: list.count)
        writer.append(UInt8(parameter))
        writer.appendBlock(RiceCoding.encode(list.dropFirst(), base: first + 1, parameter: parameter))
    }

    /// A delta alone, as a fuzzer has it.
    package init(decoding bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        try self.init(from: &reader)
        try reader.finish()
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        epoch = try reader.read()
        sequence = try reader.read()
        guard epoch > 0, sequence > 0, sequence < MapPosition.sequencesEnd else {
            throw .invalid(field: "delta sequence")
        }
        let flags: UInt8 = try reader.read()
        guard flags <= 1 else { throw .invalid(field: "delta flags") }
        isPartial = flags == 1
        root = try reader.read()
        adds = try Self.list(from: &reader)
        removes = try Self.list(from: &reader)
        guard !adds.isEmpty || !removes.isEmpty else { throw .invalid(field: "delta without changes") }
    }

    private static func list(from reader: inout ByteReader) throws(CodecError) -> [UInt32] {
        let count = try reader.readVarint("delta hashes", limit: hashesMax)
        guard count > 0 else { return [] }
        let first: UInt32 = try reader.read()
        guard count > 1 else { return [first] }
        let parameter: UInt8 = try reader.read()
        let codes = try reader.readBlock("delta codes", limit: DigestPage.encodedBytesMax)
        guard first < .max,
            let rest = RiceCoding.decode(
                codes, count: count - 1, base: first + 1, end: 1 << 32, parameter: Int(parameter)),
            let last = rest.last, Self.parameter(first: first, last: last, count: count) == Int(parameter)
        else { throw .invalid(field: "delta codes") }
        return [first] + rest
    }
}
