internal import ClusterModel

/// One Bloom filter over the hashes of one prefix, as it travels; self-describing, so that readers need no settings.
package struct DigestPage: Hashable, Sendable {
    let prefix: DigestPrefix
    /// The owner's sequence at the last change in this part.
    let version: UInt32
    /// Functions per hash.
    let functions: UInt8
    /// The filter; empty when there are no hashes.
    let filter: [UInt8]

    /// A page with its frame fits one user record of 1,000 B.
    package static let encodedBytesMax = 1_000
    private static let headerBytes = 8 + 1 + 4 + 1 + 2
    static let filterBytesMax = encodedBytesMax - headerBytes - 4
    static let functionsMax: UInt8 = 24

    init(prefix: DigestPrefix, version: UInt32, functions: UInt8, filter: [UInt8]) {
        self.prefix = prefix
        self.version = version
        self.functions = functions
        self.filter = filter
    }

    /// Fills a filter that keeps the promised rate of false hits.
    init(of hashes: ArraySlice<UInt64>, prefix: DigestPrefix, version: UInt32, shape: BloomShape) {
        self.prefix = prefix
        self.version = version
        functions = shape.functions
        var bits = [UInt8](repeating: 0, count: shape.filterBytes(for: hashes.count))
        for hash in hashes {
            var probe = BloomProbe(hash: hash, bits: bits.count * 8)
            for _ in 0..<functions {
                let bit = probe.next()
                bits[bit >> 3] |= 1 << UInt8(bit & 7)
            }
        }
        filter = bits
    }

    func mayContain(_ hash: UInt64) -> Bool {
        guard !filter.isEmpty else { return false }
        var probe = BloomProbe(hash: hash, bits: filter.count * 8)
        for _ in 0..<functions {
            let bit = probe.next()
            if filter[bit >> 3] & (1 << UInt8(bit & 7)) == 0 { return false }
        }
        return true
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(prefix.bits)
        writer.append(prefix.depth)
        writer.append(version)
        writer.append(functions)
        writer.appendBlock(filter)
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        let bits: UInt64 = try reader.read()
        let depth: UInt8 = try reader.read()
        guard depth <= DigestPrefix.depthMax else { throw .outOfRange(field: "page depth") }
        prefix = DigestPrefix(bits: bits, depth: depth)
        guard bits & ~(prefix.depth == 0 ? 0 : ~0 << (64 - UInt64(depth))) == 0 else {
            throw .invalid(field: "page prefix")
        }
        version = try reader.read()
        functions = try reader.read()
        guard (1...Self.functionsMax).contains(functions) else { throw .outOfRange(field: "page functions") }
        filter = try reader.readBlock("page filter", limit: Self.filterBytesMax)
    }
}
