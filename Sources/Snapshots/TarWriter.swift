internal import Transfer

/// Makes the one tar form of a layer: ustar headers, and PAX records for what they cannot say, nothing else.
enum TarWriter {
    private static let blockBytes = 512
    private static let nameBytes = 100

    /// The header of an entry, with a PAX header before it where needed.
    ///
    /// The name is as in the archive: `/` at the end of directories, `.wh.` names for whiteouts.
    static func header(_ entry: LayerEntry, name: [UInt8], linkName: [UInt8] = [], type: UInt8, size: Int64) -> [UInt8]
    {
        var records: [(key: [UInt8], value: [UInt8])] = []
        func record(_ key: String, _ value: some Collection<UInt8>) { records.append((Array(key.utf8), Array(value))) }
        if linkName.count > nameBytes { record("linkpath", linkName) }
        if name.count > nameBytes { record("path", name) }
        if entry.uid > 0o7777777 { record("uid", String(entry.uid).utf8) }
        if entry.gid > 0o7777777 { record("gid", String(entry.gid).utf8) }
        if size > 0o77777777777 { record("size", String(size).utf8) }
        let needsTime = entry.modified.nanoseconds != 0 || !(0...0o77777777777).contains(entry.modified.seconds)
        if needsTime { record("mtime", text(entry.modified).utf8) }
        for attribute in entry.attributes {
            records.append((Array("SCHILY.xattr.".utf8) + escaped(attribute.name), attribute.value))
        }
        var bytes: [UInt8] = []
        if !records.isEmpty {
            records.sort { $0.key.lexicographicallyPrecedes($1.key) }
            let data = records.flatMap { Self.record($0.key, $0.value) }
            var pax = LayerEntry(path: [], mode: 0o644, kind: .fifo)
            pax.modified = FileTime()
            let paxName = Array("PaxHeaders.0/".utf8) + name.prefix(nameBytes - 20).filter { $0 != UInt8(ascii: "/") }
            bytes += block(pax, name: paxName, linkName: [], type: UInt8(ascii: "x"), size: Int64(data.count))
            bytes += data
            bytes += padding(Int64(data.count))
        }
        return bytes + block(entry, name: name, linkName: linkName, type: type, size: size)
    }

    /// Zeros that fill the last block of `size` bytes.
    static func padding(_ size: Int64) -> [UInt8] {
        [UInt8](repeating: 0, count: Int((Int64(blockBytes) - size % Int64(blockBytes)) % Int64(blockBytes)))
    }

    static let endMark = [UInt8](repeating: 0, count: 2 * blockBytes)

    private static func block(
        _ entry: LayerEntry, name: [UInt8], linkName: [UInt8], type: UInt8, size: Int64
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: blockBytes)
        func put(_ bytes: some Collection<UInt8>, at offset: Int) {
            block.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        func octal(_ number: UInt64, at offset: Int, digits: Int) {
            let text = String(number, radix: 8)
            // What does not fit stands in a PAX record, which goes before.
            guard text.utf8.count <= digits else { return put(Array(repeating: 0x30, count: digits), at: offset) }
            put(Array(repeating: 0x30, count: digits - text.utf8.count) + Array(text.utf8), at: offset)
        }
        put(name.prefix(nameBytes), at: 0)
        octal(UInt64(entry.mode), at: 100, digits: 7)
        octal(UInt64(entry.uid), at: 108, digits: 7)
        octal(UInt64(entry.gid), at: 116, digits: 7)
        octal(UInt64(size), at: 124, digits: 11)
        octal(UInt64(max(0, entry.modified.seconds)), at: 136, digits: 11)
        put(Array(repeating: 32, count: 8), at: 148)
        block[156] = type
        put(linkName.prefix(nameBytes), at: 157)
        put(Array("ustar".utf8) + [0, 0x30, 0x30], at: 257)
        var device: (major: UInt32, minor: UInt32) = (0, 0)
        switch entry.kind {
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor): device = (major, minor)
        default: break
        }
        octal(UInt64(device.major), at: 329, digits: 7)
        octal(UInt64(device.minor), at: 337, digits: 7)
        let sum = block.reduce(UInt64(0)) { $0 + UInt64($1) }
        octal(sum, at: 148, digits: 6)
        block[154] = 0
        return block
    }

    /// "length key=value\n", the length counting its own digits.
    static func record(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
        let rest = key.count + value.count + 3
        var length = rest
        while String(length).utf8.count + rest != length { length = String(length).utf8.count + rest }
        return Array("\(length) ".utf8) + key + [UInt8(ascii: "=")] + value + [UInt8(ascii: "\n")]
    }

    /// Seconds with as many digits of a fraction as there are.
    static func text(_ time: FileTime) -> String {
        var (seconds, nanoseconds) = (time.seconds, time.nanoseconds)
        guard nanoseconds > 0 else { return String(seconds) }
        var sign = ""
        if seconds < 0 {
            // -2 s and 0.75 s are -1.25 s.
            sign = "-"
            seconds = -(seconds + 1)
            nanoseconds = 1_000_000_000 - nanoseconds
        }
        var digits = String(nanoseconds)
        digits = String(repeating: "0", count: 9 - digits.count) + digits
        while digits.hasSuffix("0") { digits.removeLast() }
        return "\(sign)\(seconds).\(digits)"
    }

    /// `=` ends a PAX key, so GNU tar writes it as %3D and % as %25.
    private static func escaped(_ name: [UInt8]) -> [UInt8] {
        name.flatMap { byte -> [UInt8] in
            switch byte {
            case UInt8(ascii: "="): Array("%3D".utf8)
            case UInt8(ascii: "%"): Array("%25".utf8)
            default: [byte]
            }
        }
    }
}
