internal import Transfer

/// Reads members of a tar archive: ustar, PAX, GNU long names, GNU and PAX sparse files.
struct TarReader {
    static let blockBytes = 512
    /// Extended headers of one member together: room for the largest attributes that Linux has, several times.
    static let metadataBytesMax: Int64 = 4 << 20

    let stream: ArchiveStream
    /// Stored bytes and padding of the current member that have not been read.
    var unread: Int64 = 0
    private var padding: Int64 = 0

    init(_ stream: ArchiveStream) { self.stream = stream }

    /// The next member; nil at the end of the archive.
    mutating func next() throws -> TarEntry? {
        try skip()
        var pax: [[UInt8]: [UInt8]] = [:]
        var longName: [UInt8]?
        var longLink: [UInt8]?
        var room = Self.metadataBytesMax
        while true {
            let start = stream.position
            guard let header = try nextHeader() else { return nil }
            let size = try Self.number(header[124..<136], at: start)
            let type = header[156]
            switch type {
            case UInt8(ascii: "x"): for (key, value) in try records(size, at: start, &room) { pax[key] = value }
            case UInt8(ascii: "g"): _ = try extended(size, at: start, &room)
            case UInt8(ascii: "L"): longName = Array(try extended(size, at: start, &room).prefix { $0 != 0 })
            case UInt8(ascii: "K"): longLink = Array(try extended(size, at: start, &room).prefix { $0 != 0 })
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

    /// The data of an extended header, taken from the `room` that its member has left for them.
    private func extended(_ size: Int64, at start: Int64, _ room: inout Int64) throws -> [UInt8] {
        guard (0...room).contains(size) else {
            throw ArchiveError.malformedHeader(
                atByte: start,
                "an extended header of \(size) bytes; a member has at most \(Self.metadataBytesMax) of them together")
        }
        room -= size
        let bytes = try stream.bytes(Int(size))
        try stream.read(Self.padding(size)) { _ in }
        return bytes
    }

    /// PAX records: "length key=value\n", the length counting itself.
    private func records(_ size: Int64, at start: Int64, _ room: inout Int64) throws -> [([UInt8], [UInt8])] {
        let bytes = try extended(size, at: start, &room)
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
}
