internal import Transfer

/// Reads members of a tar archive: ustar, PAX, GNU long names, GNU and PAX sparse files.
struct TarReader {
    static let blockBytes = 512
    /// Extended headers of one member: room for the largest attributes that Linux has, several times.
    private static let extendedBytesMax = 4 << 20
    private static let extentsMax = 1_000_000

    private let stream: ArchiveStream
    /// Stored bytes and padding of the current member that have not been read.
    private var unread: Int64 = 0
    private var padding: Int64 = 0

    init(_ stream: ArchiveStream) { self.stream = stream }

    /// The next member; nil at the end of the archive.
    mutating func next() throws -> TarEntry? {
        try skip()
        var pax: [[UInt8]: [UInt8]] = [:]
        var longName: [UInt8]?
        var longLink: [UInt8]?
        while true {
            let start = stream.position
            guard let header = try nextHeader() else { return nil }
            let size = try Self.number(header[124..<136], at: start)
            let type = header[156]
            switch type {
            case UInt8(ascii: "x"): for (key, value) in try records(size, at: start) { pax[key] = value }
            case UInt8(ascii: "g"): _ = try extended(size, at: start)
            case UInt8(ascii: "L"): longName = Array(try extended(size, at: start).prefix { $0 != 0 })
            case UInt8(ascii: "K"): longLink = Array(try extended(size, at: start).prefix { $0 != 0 })
            default:
                var entry = try entry(header, type, size: size, at: start)
                if let longName { entry.name = longName }
                if let longLink { entry.linkName = longLink }
                try apply(pax, to: &entry, at: start)
                // "Directory" is also a trailing slash, from before there were types.
                if entry.kind == .file, entry.name.last == UInt8(ascii: "/") { entry.kind = .directory }
                if entry.kind != .file { entry.size = 0 }
                unread = entry.kind == .file ? entry.storedSize : 0
                let stored = entry.kind == .file || entry.kind == .directory ? entry.storedSize : 0
                if entry.kind == .directory { unread = stored }
                padding = Self.padding(stored)
                if type == UInt8(ascii: "S") { try readOldSparse(header, &entry, at: start) }
                if pax[Array("GNU.sparse.major".utf8)] == [UInt8(ascii: "1")] { try readSparseMap(&entry, at: start) }
                try checkExtents(entry)
                return entry
            }
        }
    }

    /// Gives the content of the member that `next` returned, piece by piece with the offset in the file.
    mutating func content(
        of entry: TarEntry, _ body: (UnsafeRawBufferPointer, _ offset: Int64) throws -> Void
    ) throws {
        for extent in entry.extents ?? [TarEntry.Extent(offset: 0, count: entry.storedSize)] {
            var offset = extent.offset
            try stream.read(extent.count) { piece in
                try body(piece, offset)
                offset += Int64(piece.count)
            }
            unread -= extent.count
        }
    }

    private mutating func skip() throws {
        try stream.read(unread + padding) { _ in }
        unread = 0
        padding = 0
    }

    /// A header block with a right checksum; nil at the end mark or the end of the stream.
    private func nextHeader() throws -> [UInt8]? {
        var block: [UInt8] = []
        while block.count < Self.blockBytes {
            let isMore = try stream.take(atMost: Int64(Self.blockBytes - block.count)) { block.append(contentsOf: $0) }
            guard isMore else {
                // Without end mark: every reader takes it.
                if block.isEmpty { return nil }
                throw ArchiveError.truncated(atByte: stream.position)
            }
        }
        if block.allSatisfy({ $0 == 0 }) { return nil }
        let at = stream.position - Int64(Self.blockBytes)
        let expected = try Self.number(block[148..<156], at: at)
        var sum: Int64 = 0
        for (index, byte) in block.enumerated() { sum += (148..<156).contains(index) ? 32 : Int64(byte) }
        guard sum == expected else { throw ArchiveError.malformedHeader(atByte: at, "its checksum is wrong") }
        return block
    }

    private func entry(_ header: [UInt8], _ type: UInt8, size: Int64, at start: Int64) throws -> TarEntry {
        var name = Self.text(header[0..<100])
        let isPOSIX = header[257..<265].elementsEqual(Array("ustar".utf8) + [0, 0x30, 0x30])
        let prefix = isPOSIX ? Self.text(header[345..<500]) : []
        if !prefix.isEmpty { name = prefix + [UInt8(ascii: "/")] + name }
        let kind: TarEntry.Kind
        switch type {
        case 0, UInt8(ascii: "7"), UInt8(ascii: "S"): kind = .file
        default:
            guard let known = TarEntry.Kind(rawValue: type) else {
                throw ArchiveError.entry(
                    name: String(decoding: name, as: UTF8.self), "type \"\(Character(UnicodeScalar(type)))\" is unknown"
                )
            }
            kind = known
        }
        var entry = TarEntry(name: name, kind: kind)
        entry.mode = UInt16(truncatingIfNeeded: try Self.number(header[100..<108], at: start) & 0o7777)
        entry.uid = try Self.id(try Self.number(header[108..<116], at: start), at: start)
        entry.gid = try Self.id(try Self.number(header[116..<124], at: start), at: start)
        entry.modified.seconds = try Self.number(header[136..<148], at: start)
        entry.linkName = Self.text(header[157..<257])
        if kind == .characterDevice || kind == .blockDevice {
            entry.major = try Self.id(try Self.number(header[329..<337], at: start), at: start)
            entry.minor = try Self.id(try Self.number(header[337..<345], at: start), at: start)
        }
        entry.storedSize = size
        entry.size = size
        guard size >= 0, size <= LayerManifest.contentBytesMax else {
            throw ArchiveError.malformedHeader(atByte: start, "its size is \(size)")
        }
        return entry
    }

    /// The data of an extended header.
    private func extended(_ size: Int64, at start: Int64) throws -> [UInt8] {
        guard (0...Int64(Self.extendedBytesMax)).contains(size) else {
            throw ArchiveError.malformedHeader(
                atByte: start, "an extended header of \(size) bytes, more than \(Self.extendedBytesMax)")
        }
        let bytes = try stream.bytes(Int(size))
        try stream.read(Self.padding(size)) { _ in }
        return bytes
    }

    /// PAX records: "length key=value\n", the length counting itself.
    private func records(_ size: Int64, at start: Int64) throws -> [([UInt8], [UInt8])] {
        let bytes = try extended(size, at: start)
        var records: [([UInt8], [UInt8])] = []
        var position = 0
        while position < bytes.count {
            guard let space = bytes[position...].firstIndex(of: UInt8(ascii: " ")), space - position <= 10,
                let length = Int(String(decoding: bytes[position..<space], as: UTF8.self)),
                length > space - position + 1,
                length <= bytes.count - position, bytes[position + length - 1] == UInt8(ascii: "\n"),
                let equals = bytes[(space + 1)..<(position + length)].firstIndex(of: UInt8(ascii: "="))
            else { throw ArchiveError.malformedHeader(atByte: start, "a PAX record is malformed") }
            records.append((Array(bytes[(space + 1)..<equals]), Array(bytes[(equals + 1)..<(position + length - 1)])))
            position += length
        }
        return records
    }

    private func apply(_ pax: [[UInt8]: [UInt8]], to entry: inout TarEntry, at start: Int64) throws {
        let attributePrefix = Array("SCHILY.xattr.".utf8)
        for (key, value) in pax {
            if key.starts(with: attributePrefix) {
                let name = Self.unescaped(key[attributePrefix.count...])
                entry.attributes.append(ExtendedAttribute(name: name, value: value))
                continue
            }
            let text = String(decoding: value, as: UTF8.self)
            func number() throws -> Int64 {
                guard let number = Int64(text) else {
                    throw ArchiveError.malformedHeader(
                        atByte: start, "PAX \(String(decoding: key, as: UTF8.self)) is \"\(text)\"")
                }
                return number
            }
            switch String(decoding: key, as: UTF8.self) {
            case "path": if pax[Array("GNU.sparse.name".utf8)] == nil { entry.name = value }
            case "GNU.sparse.name": entry.name = value
            case "linkpath": entry.linkName = value
            case "uid": entry.uid = try Self.id(try number(), at: start)
            case "gid": entry.gid = try Self.id(try number(), at: start)
            case "mtime":
                guard let time = Self.time(text) else {
                    throw ArchiveError.malformedHeader(atByte: start, "PAX mtime is \"\(text)\"")
                }
                entry.modified = time
            case "size":
                entry.storedSize = try number()
                if pax[Array("GNU.sparse.realsize".utf8)] == nil, pax[Array("GNU.sparse.size".utf8)] == nil {
                    entry.size = entry.storedSize
                }
            case "GNU.sparse.realsize", "GNU.sparse.size": entry.size = try number()
            case "GNU.sparse.map":
                let numbers = text.split(separator: ",").compactMap { Int64($0) }
                entry.extents = try Self.extents(numbers, at: start)
            default: break
            }
        }
        guard entry.storedSize >= 0, entry.storedSize <= LayerManifest.contentBytesMax else {
            throw ArchiveError.malformedHeader(atByte: start, "its size is \(entry.storedSize)")
        }
    }

    /// Sparse files of GNU tar's own format: extents in the header and in blocks that follow it.
    private mutating func readOldSparse(_ header: [UInt8], _ entry: inout TarEntry, at start: Int64) throws {
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
    private mutating func readSparseMap(_ entry: inout TarEntry, at start: Int64) throws {
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

    private static func extents(_ numbers: [Int64], at start: Int64) throws -> [TarEntry.Extent] {
        guard numbers.count.isMultiple(of: 2), numbers.count <= extentsMax * 2 else {
            throw ArchiveError.malformedHeader(atByte: start, "its list of extents is malformed")
        }
        return stride(from: 0, to: numbers.count, by: 2).map {
            TarEntry.Extent(offset: numbers[$0], count: numbers[$0 + 1])
        }
    }

    private func checkExtents(_ entry: TarEntry) throws {
        func refuse(_ why: String) -> ArchiveError { .entry(name: String(decoding: entry.name, as: UTF8.self), why) }
        guard (0...LayerManifest.contentBytesMax).contains(entry.size) else {
            throw refuse("its size is \(entry.size)")
        }
        guard let extents = entry.extents else { return }
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

    // MARK: Fields

    private static func padding(_ size: Int64) -> Int64 {
        (Int64(blockBytes) - size % Int64(blockBytes)) % Int64(blockBytes)
    }

    private static func text(_ field: ArraySlice<UInt8>) -> [UInt8] { Array(field.prefix { $0 != 0 }) }

    /// An octal number, or GNU's base 256 with the top bit of the first byte set.
    private static func number(_ field: ArraySlice<UInt8>, at start: Int64) throws -> Int64 {
        guard let first = field.first else { return 0 }
        if first & 0x80 != 0 {
            var value: Int64 = first & 0x40 != 0 ? -1 : 0
            for (index, byte) in field.enumerated() {
                let bits = index == 0 ? (first & 0x40 != 0 ? byte | 0x80 : byte & 0x7F) : byte
                guard value >> 54 == 0 || value >> 54 == -1 else {
                    throw ArchiveError.malformedHeader(atByte: start, "a number has more than 62 bits")
                }
                value = value << 8 | Int64(bits)
            }
            return value
        }
        var value: Int64 = 0
        for byte in field.drop(while: { $0 == 32 || $0 == 0 }) {
            if byte == 32 || byte == 0 { break }
            guard (0x30...0x37).contains(byte) else {
                throw ArchiveError.malformedHeader(atByte: start, "a number is not octal")
            }
            value = value << 3 | Int64(byte - 0x30)
        }
        return value
    }

    private static func id(_ number: Int64, at start: Int64) throws -> UInt32 {
        guard let id = UInt32(exactly: number) else {
            throw ArchiveError.malformedHeader(atByte: start, "id \(number) is out of range")
        }
        return id
    }

    /// "seconds.fraction", possibly negative; digits beyond nanoseconds are cut off.
    static func time(_ text: String) -> FileTime? {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, let seconds = Int64(whole), abs(seconds) < 1 << 55 else { return nil }
        guard parts.count == 2 else { return FileTime(seconds: seconds) }
        let digits = parts[1].prefix(9)
        guard parts[1].allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
        let padded = digits + String(repeating: "0", count: 9 - digits.count)
        guard let nanoseconds = UInt32(padded) else { return nil }
        guard whole.hasPrefix("-"), nanoseconds > 0 else { return FileTime(seconds: seconds, nanoseconds: nanoseconds) }
        return FileTime(seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds)
    }

    /// `=` and `%` in attribute names, as GNU tar writes them.
    private static func unescaped(_ name: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = name
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.starts(with: Array("3D".utf8)) {
                result.append(UInt8(ascii: "="))
                rest = rest.dropFirst(2)
            } else if byte == UInt8(ascii: "%"), rest.starts(with: Array("25".utf8)) {
                result.append(UInt8(ascii: "%"))
                rest = rest.dropFirst(2)
            } else {
                result.append(byte)
            }
        }
        return result
    }
}
