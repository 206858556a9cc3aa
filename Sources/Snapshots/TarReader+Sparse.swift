internal import Transfer

// Sparse files, in the three forms that GNU tar has for them.
extension TarReader {
    private static let extentsMax = 1_000_000
    /// Of a number in a list of extents: those of the largest in 64 bits.
    private static let digitsMax = 19

    /// Sparse files of GNU tar's own format: extents in the header and in blocks that follow it.
    mutating func readOldSparse(_ header: [UInt8], _ entry: inout TarEntry, at start: Int64) throws {
        entry.size = try Self.number(header[483..<495], at: start)
        var numbers: [Int64] = []
        func collect(_ block: [UInt8], from first: Int, _ count: Int) throws {
            for index in 0..<count {
                let base = first + index * 24
                guard block[base] != 0 else { return }
                numbers.append(try Self.number(block[base..<base + 12], at: start))
                numbers.append(try Self.number(block[base + 12..<base + 24], at: start))
            }
        }
        try collect(header, from: 386, 4)
        var continues = header[482] != 0
        while continues {
            guard numbers.count < Self.extentsMax * 2 else {
                throw ArchiveError.malformedHeader(atByte: start, "it has too many extents")
            }
            let block = try stream.bytes(Self.blockBytes)
            try collect(block, from: 0, 21)
            continues = block[504] != 0
        }
        entry.extents = try Self.extents(numbers, at: start)
    }

    /// PAX sparse files, version 1.0: the extents, in decimal lines, fill the first blocks of the member.
    mutating func readSparseMap(_ entry: inout TarEntry, at start: Int64) throws {
        var numbers: [Int64] = []
        var digits: [UInt8] = []
        var wanted = 1
        while numbers.count < wanted {
            guard unread >= Int64(Self.blockBytes) else {
                throw ArchiveError.malformedHeader(atByte: start, "its list of extents is cut off")
            }
            let block = try stream.bytes(Self.blockBytes)
            unread -= Int64(Self.blockBytes)
            entry.storedSize -= Int64(Self.blockBytes)
            for byte in block where numbers.count < wanted {
                guard byte == UInt8(ascii: "\n") else {
                    guard digits.count < Self.digitsMax else {
                        throw ArchiveError.malformedHeader(
                            atByte: start, "its list of extents has a number of more than \(Self.digitsMax) digits")
                    }
                    digits.append(byte)
                    continue
                }
                guard let number = Int64(String(decoding: digits, as: UTF8.self)), number >= 0 else {
                    throw ArchiveError.malformedHeader(atByte: start, "its list of extents is malformed")
                }
                digits = []
                numbers.append(number)
                if numbers.count == 1 {
                    guard number <= Self.extentsMax else {
                        throw ArchiveError.malformedHeader(atByte: start, "it has too many extents")
                    }
                    wanted = 1 + Int(number) * 2
                }
            }
        }
        entry.extents = try Self.extents(Array(numbers.dropFirst()), at: start)
    }

    static func extents(_ numbers: [Int64], at start: Int64) throws -> [TarEntry.Extent] {
        guard numbers.count.isMultiple(of: 2), numbers.count <= extentsMax * 2 else {
            throw ArchiveError.malformedHeader(atByte: start, "its list of extents is malformed")
        }
        return stride(from: 0, to: numbers.count, by: 2).map {
            TarEntry.Extent(offset: numbers[$0], count: numbers[$0 + 1])
        }
    }

    func checkExtents(_ entry: TarEntry) throws {
        func refuse(_ why: String) -> ArchiveError { .entry(name: String(decoding: entry.name, as: UTF8.self), why) }
        guard (0...LayerManifest.contentBytesMax).contains(entry.size) else {
            throw refuse("its size is \(entry.size)")
        }
        guard let extents = entry.extents else {
            guard entry.kind != .file || entry.size == entry.storedSize else {
                throw refuse("it is sparse and has no list of extents: pack it with GNU tar's --sparse-version=1.0")
            }
            return
        }
        var end: Int64 = 0
        var stored: Int64 = 0
        for extent in extents {
            guard extent.count >= 0, extent.offset >= end, extent.offset <= entry.size,
                extent.count <= entry.size - extent.offset
            else { throw refuse("its extents overlap or go beyond its size") }
            end = extent.offset + extent.count
            stored += extent.count
        }
        guard stored == entry.storedSize else { throw refuse("its extents are not as long as its data") }
    }
}
