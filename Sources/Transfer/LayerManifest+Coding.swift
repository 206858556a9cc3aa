internal import OCI

extension LayerManifest {
    private static let magic = Array("PBLM".utf8) + [formatVersion]

    /// The tag byte of each kind in the encoding.
    private enum Tag: UInt8 {
        case directory = 0, opaqueDirectory, file, hardlink, symlink, characterDevice, blockDevice, fifo, whiteout
    }

    /// The canonical bytes: there is exactly one encoding of a layer.
    package func encoded() -> [UInt8] { Self.encode(entries) }

    static func encode(_ entries: [LayerEntry]) -> [UInt8] {
        var writer = CanonicalWriter()
        writer.append(magic)
        writer.append(number: UInt64(entries.count))
        for entry in entries { encode(entry, among: entries, into: &writer) }
        return writer.bytes
    }

    private static func encode(_ entry: LayerEntry, among entries: [LayerEntry], into writer: inout CanonicalWriter) {
        writer.append(tag(of: entry.kind).rawValue)
        writer.append(counted: entry.path)
        switch entry.kind {
        case .whiteout: return
        case .hardlink(let target):
            let index = find(target, in: entries[...])
            precondition(index != nil, "a checked hard link has its target in the layer")
            writer.append(number: UInt64(index ?? 0))
            return
        default: break
        }
        writer.append(number: UInt64(entry.mode))
        writer.append(number: UInt64(entry.uid))
        writer.append(number: UInt64(entry.gid))
        writer.append(signed: entry.modified.seconds)
        writer.append(number: UInt64(entry.modified.nanoseconds))
        writer.append(number: UInt64(entry.attributes.count))
        for attribute in entry.attributes {
            writer.append(counted: attribute.name)
            writer.append(counted: attribute.value)
        }
        switch entry.kind {
        case .file(let size, let content):
            writer.append(number: UInt64(size))
            content.encode(size: size, into: &writer)
        case .symlink(let target): writer.append(counted: target)
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
            writer.append(number: UInt64(major))
            writer.append(number: UInt64(minor))
        case .directory, .fifo, .hardlink, .whiteout: break
        }
    }

    private static func tag(of kind: LayerEntry.Kind) -> Tag {
        switch kind {
        case .directory(let isOpaque): isOpaque ? .opaqueDirectory : .directory
        case .file: .file
        case .hardlink: .hardlink
        case .symlink: .symlink
        case .characterDevice: .characterDevice
        case .blockDevice: .blockDevice
        case .fifo: .fifo
        case .whiteout: .whiteout
        }
    }

    /// Decodes canonical bytes and refuses all others, so that `id` is the digest of `encoded`.
    ///
    /// - Throws: `ManifestError`; nothing beyond the size of `encoded` is allocated before it is known to be needed.
    package init(decoding encoded: [UInt8]) throws(ManifestError) {
        guard encoded.count <= Self.encodedBytesMax else {
            throw .limit("bytes", value: UInt64(encoded.count), maximum: UInt64(Self.encodedBytesMax))
        }
        guard encoded.starts(with: Self.magic) else { throw .unknownFormat }
        var reader = CanonicalReader(encoded)
        _ = try reader.take(Self.magic.count)
        let count = Int(try reader.number(atMost: UInt64(Self.entriesMax)))
        var entries: [LayerEntry] = []
        // An entry takes two bytes at least.
        entries.reserveCapacity(min(count, reader.remaining / 2))
        for _ in 0..<count { entries.append(try Self.decodeEntry(&reader, after: entries)) }
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
        let checked = try Self.check(entries)
        self.init(
            checked: entries, id: Digest.of(encoded), contentBytes: checked.contentBytes, deletions: checked.deletions)
    }

    private static func decodeEntry(
        _ reader: inout CanonicalReader, after entries: [LayerEntry]
    ) throws(ManifestError) -> LayerEntry {
        let start = reader.position
        guard let tag = Tag(rawValue: try reader.byte()) else {
            throw .notCanonical("an entry is of an unknown kind", atByte: start)
        }
        let path = try reader.counted(atMost: pathBytesMax)
        if tag == .whiteout { return .whiteout(path) }
        if tag == .hardlink {
            let target = Int(try reader.number(atMost: UInt64(entriesMax)))
            guard target < entries.count else {
                throw .notCanonical("a hard link's target does not precede it", atByte: start)
            }
            var entry = entries[target]
            entry.kind = .hardlink(target: entry.path)
            entry.path = path
            return entry
        }
        var entry = LayerEntry(path: path, mode: UInt16(try reader.number(atMost: 0o7777)), kind: .fifo)
        entry.uid = UInt32(try reader.number(atMost: UInt64(UInt32.max)))
        entry.gid = UInt32(try reader.number(atMost: UInt64(UInt32.max)))
        entry.modified.seconds = try reader.signed()
        entry.modified.nanoseconds = UInt32(try reader.number(atMost: 999_999_999))
        for _ in 0..<Int(try reader.number(atMost: UInt64(attributesMax))) {
            let name = try reader.counted(atMost: nameBytesMax)
            entry.attributes.append(
                ExtendedAttribute(name: name, value: try reader.counted(atMost: attributeBytesMax)))
        }
        entry.kind = try decodeKind(tag, &reader)
        return entry
    }

    private static func decodeKind(
        _ tag: Tag, _ reader: inout CanonicalReader
    ) throws(ManifestError) -> LayerEntry.Kind {
        switch tag {
        case .directory: return .directory(isOpaque: false)
        case .opaqueDirectory: return .directory(isOpaque: true)
        case .file:
            let size = Int64(try reader.number(atMost: UInt64(contentBytesMax)))
            return .file(size: size, content: try ChunkedContent.decode(size: size, &reader))
        case .symlink: return .symlink(target: try reader.counted(atMost: pathBytesMax))
        case .characterDevice, .blockDevice:
            let major = UInt32(try reader.number(atMost: UInt64(UInt32.max)))
            let minor = UInt32(try reader.number(atMost: UInt64(UInt32.max)))
            return tag == .blockDevice
                ? .blockDevice(major: major, minor: minor) : .characterDevice(major: major, minor: minor)
        case .fifo: return .fifo
        case .hardlink, .whiteout: preconditionFailure("decodeEntry has handled \(tag)")
        }
    }
}
