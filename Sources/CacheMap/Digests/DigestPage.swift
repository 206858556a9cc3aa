package import ClusterModel

/// The keys of one hash prefix, as they travel in one packet; self-describing, so that readers need no settings.
///
/// Frame: depth 1 · prefix ⌈depth / 8⌉ · version (varint) · encoding 1 · body. Empty page: no body. Bloom: functions 1 ·
/// filter (length, bytes). Golomb-Rice: count (varint) · range (varint) · parameter 1 · codes (length, bytes). A hash is
/// looked up in a Golomb-Rice page as ⌊range · h / 2^64⌋, with h the bits behind the prefix.
package struct DigestPage: Hashable, Sendable {
    enum Content: Hashable, Sendable {
        case empty
        case bloom(BloomFilter)
        /// Distinct, ascending, below `range`.
        case rice(values: [UInt32], range: UInt32)
    }

    /// Which encodings an owner may choose from; `smaller` decides for each page.
    package enum Encoding: String, Hashable, Sendable, CaseIterable { case smaller, bloom, rice }

    private enum Tag: UInt8 { case empty, bloom, rice }

    let prefix: DigestPrefix
    /// The owner's sequence at the last change in this part.
    let version: UInt32
    let content: Content

    /// No page is longer: the payload of a 1,400 B packet.
    package static let encodedBytesMax = 1_400
    /// Depth, prefix, version, tag, count, range, parameter and length at their longest.
    static let headerBytesMax = 1 + 3 + 5 + 1 + 2 + 5 + 1 + 2
    /// A Golomb-Rice coded key takes at least one bit; more cannot be in a page.
    static let keysMax = encodedBytesMax * 8

    init(prefix: DigestPrefix, version: UInt32, content: Content) {
        self.prefix = prefix
        self.version = version
        self.content = content
    }

    /// A page of `hashes`, which begin with `prefix`, ascending.
    init(
        of hashes: ArraySlice<UInt64>, prefix: DigestPrefix, version: UInt32, rate: FalseHitRate, encoding: Encoding
    ) {
        self.prefix = prefix
        self.version = version
        guard !hashes.isEmpty else {
            content = .empty
            return
        }
        let range = UInt32(clamping: hashes.count * rate.oneIn)
        let isBloom =
            switch encoding {
            case .bloom: true
            case .rice: false
            case .smaller:
                Double(BloomFilter.byteCount(keys: hashes.count, rate: rate) * 8)
                    < RiceCoding.best(mean: Double(rate.oneIn)).bits * Double(hashes.count)
            }
        if isBloom {
            content = .bloom(BloomFilter(of: hashes, rate: rate))
        } else {
            var values: [UInt32] = []
            values.reserveCapacity(hashes.count)
            for hash in hashes {
                let value = Self.place(of: hash, behind: prefix, range: range)
                if values.last != value { values.append(value) }
            }
            content = .rice(values: values, range: range)
        }
    }

    /// Where a hash stands in a Golomb-Rice page.
    static func place(of hash: UInt64, behind prefix: DigestPrefix, range: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: (hash << UInt64(prefix.depth)).multipliedFullWidth(by: UInt64(range)).high)
    }

    func mayContain(_ hash: UInt64) -> Bool {
        switch content {
        case .empty: return false
        case .bloom(let filter): return filter.mayContain(hash)
        case .rice(let values, let range):
            let wanted = Self.place(of: hash, behind: prefix, range: range)
            var (low, high) = (0, values.count)
            while low < high {
                let middle = (low + high) / 2
                if values[middle] < wanted { low = middle + 1 } else { high = middle }
            }
            return low < values.count && values[low] == wanted
        }
    }

    /// Keys that surely fit a page of `bytes`, on the average of many pages.
    static func capacity(bytes: Int, rate: FalseHitRate, encoding: Encoding) -> Int {
        let bits = Double((bytes - headerBytesMax) * 8)
        let rice = RiceCoding.best(mean: Double(rate.oneIn)).bits
        let bloom = Double(BloomFilter.byteCount(keys: 1_000, rate: rate)) * 8 / 1_000
        let perKey =
            switch encoding {
            case .bloom: bloom
            case .rice: rice
            case .smaller: min(rice, bloom)
            }
        return max(1, Int(bits / perKey))
    }

    // MARK: Coding

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: Self.encodedBytesMax)
        encode(into: &writer)
        return writer.bytes
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(prefix.depth)
        for index in 0..<prefix.byteCount {
            writer.append(UInt8(truncatingIfNeeded: prefix.bits >> UInt64(56 - 8 * index)))
        }
        writer.appendVarint(Int(version))
        switch content {
        case .empty: writer.append(Tag.empty.rawValue)
        case .bloom(let filter):
            writer.append(Tag.bloom.rawValue)
            writer.append(UInt8(filter.functions))
            writer.appendBlock(filter.bits)
        case .rice(let values, let range):
            let parameter = RiceCoding.best(mean: Double(range) / Double(max(1, values.count))).parameter
            writer.append(Tag.rice.rawValue)
            writer.appendVarint(values.count)
            writer.appendVarint(Int(range))
            writer.append(UInt8(parameter))
            writer.appendBlock(RiceCoding.encode(values, base: 0, parameter: parameter))
        }
    }

    /// A page alone, as a fuzzer has it.
    package init(decoding bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        try self.init(from: &reader)
        try reader.finish()
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        let depth: UInt8 = try reader.read()
        guard depth <= DigestPrefix.depthMax else { throw .outOfRange(field: "page depth") }
        var bits: UInt64 = 0
        for (index, byte) in try reader.read(count: (Int(depth) + 7) / 8).enumerated() {
            bits |= UInt64(byte) << UInt64(56 - 8 * index)
        }
        prefix = DigestPrefix(bits: bits, depth: depth)
        guard prefix.isCanonical else { throw .invalid(field: "page prefix") }
        version = UInt32(try reader.readVarint("page version", limit: Int(UInt32.max)))
        switch Tag(rawValue: try reader.read()) {
        case .empty: content = .empty
        case .bloom:
            let functions: UInt8 = try reader.read()
            guard (1...UInt8(BloomFilter.functionsMax)).contains(functions) else {
                throw .outOfRange(field: "page functions")
            }
            let filter = try reader.readBlock("page filter", limit: Self.encodedBytesMax)
            guard !filter.isEmpty else { throw .invalid(field: "page filter") }
            content = .bloom(BloomFilter(functions: Int(functions), bits: filter))
        case .rice:
            let count = try reader.readVarint("page keys", limit: Self.keysMax)
            let range = try reader.readVarint("page range", limit: Int(UInt32.max))
            let parameter: UInt8 = try reader.read()
            let codes = try reader.readBlock("page codes", limit: Self.encodedBytesMax)
            guard count > 0,
                let values = RiceCoding.decode(
                    codes, count: count, base: 0, end: UInt64(range), parameter: Int(parameter))
            else { throw .invalid(field: "page codes") }
            // One form only: equal content has equal bytes.
            guard RiceCoding.best(mean: Double(range) / Double(count)).parameter == Int(parameter) else {
                throw .invalid(field: "page parameter")
            }
            content = .rice(values: values, range: UInt32(range))
        case nil: throw .invalid(field: "page encoding")
        }
    }
}
