/// Writes the 512-byte headers of a tar archive: ustar (POSIX.1-1988), with PAX records for what does not fit.
struct TarHeader: Sendable {
    /// Size of a header, and the unit that content is padded to.
    static let blockBytes = 512
    /// Two zero blocks end an archive.
    static let end = [UInt8](repeating: 0, count: 2 * blockBytes)

    /// Kind of entry, as its type flag.
    enum Kind: UInt8, Sendable {
        case file = 0x30
        case hardlink = 0x31
        case symlink = 0x32
        case characterDevice = 0x33
        case blockDevice = 0x34
        case directory = 0x35
        case fifo = 0x36
    }

    var path: [UInt8]
    var kind: Kind
    /// Permission bits, 07777.
    var mode: UInt32
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var size: Int64 = 0
    /// Whole seconds since 1970.
    var modified: Int64 = 0
    /// Target of a link.
    var linkName: [UInt8] = []
    var major: UInt32 = 0
    var minor: UInt32 = 0
    /// Extended attributes by name.
    var xattrs: [(name: [UInt8], value: [UInt8])] = []

    init(path: [UInt8], kind: Kind, mode: UInt32) {
        self.path = path
        self.kind = kind
        self.mode = mode
    }

    /// Zeros that follow content of `size` bytes.
    static func padding(for size: Int64) -> [UInt8] {
        [UInt8](repeating: 0, count: Int((512 - size % 512) % 512))
    }

    /// The header, preceded by a PAX header where one is needed.
    var encoded: [UInt8] {
        let records = paxRecords
        guard !records.isEmpty else { return block(path: path, link: linkName, kind: kind.rawValue, size: size) }
        var pax = TarHeader(path: Array("PaxHeaders.0/".utf8) + path.suffix(80), kind: .file, mode: 0o644)
        pax.size = Int64(records.count)
        return pax.block(path: pax.path, link: [], kind: UInt8(ascii: "x"), size: pax.size) + records
            + Self.padding(for: pax.size)
            + block(path: Array(path.prefix(100)), link: Array(linkName.prefix(100)), kind: kind.rawValue, size: size)
    }

    private static let octal7Max: Int64 = 0o7777777
    private static let octal11Max: Int64 = 0o77777777777

    private var paxRecords: [UInt8] {
        var records: [UInt8] = []
        if splitPath(path) == nil { records += Self.record("path", path) }
        if linkName.count > 100 { records += Self.record("linkpath", linkName) }
        if size > Self.octal11Max { records += Self.record("size", Array(String(size).utf8)) }
        if Int64(uid) > Self.octal7Max { records += Self.record("uid", Array(String(uid).utf8)) }
        if Int64(gid) > Self.octal7Max { records += Self.record("gid", Array(String(gid).utf8)) }
        if modified < 0 || modified > Self.octal11Max { records += Self.record("mtime", Array(String(modified).utf8)) }
        for xattr in xattrs {
            records += Self.record("SCHILY.xattr." + String(decoding: xattr.name, as: UTF8.self), xattr.value)
        }
        return records
    }

    /// `LENGTH NAME=VALUE\n`, where LENGTH counts itself (POSIX pax, "pax Extended Header").
    private static func record(_ name: String, _ value: [UInt8]) -> [UInt8] {
        let rest = name.utf8.count + value.count + 3
        var length = rest + String(rest).utf8.count
        if String(length).utf8.count != String(rest).utf8.count { length = rest + String(length).utf8.count }
        return Array("\(length) \(name)=".utf8) + value + [0x0a]
    }

    /// Prefix and name of a ustar header; nil when the path does not fit.
    private func splitPath(_ path: [UInt8]) -> (prefix: [UInt8], name: [UInt8])? {
        guard path.allSatisfy({ $0 < 0x80 }) else { return nil }
        if path.count <= 100 { return ([], path) }
        guard path.count <= 256 else { return nil }
        for index in path.indices where path[index] == UInt8(ascii: "/") {
            let name = path[(index + 1)...]
            if index <= 155, !name.isEmpty, name.count <= 100 { return (Array(path[..<index]), Array(name)) }
        }
        return nil
    }

    private func block(path: [UInt8], link: [UInt8], kind: UInt8, size: Int64) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: Self.blockBytes)
        let split = splitPath(path) ?? ([], Array(path.prefix(100)))
        Self.put(split.name, at: 0, in: &out)
        Self.putOctal(Int64(mode & 0o7777), digits: 7, at: 100, in: &out)
        Self.putOctal(min(Int64(uid), Self.octal7Max), digits: 7, at: 108, in: &out)
        Self.putOctal(min(Int64(gid), Self.octal7Max), digits: 7, at: 116, in: &out)
        Self.putOctal(min(size, Self.octal11Max), digits: 11, at: 124, in: &out)
        Self.putOctal(min(max(modified, 0), Self.octal11Max), digits: 11, at: 136, in: &out)
        out[156] = kind
        Self.put(Array(link.prefix(100)), at: 157, in: &out)
        Self.put(Array("ustar".utf8), at: 257, in: &out)
        out[263] = UInt8(ascii: "0")
        out[264] = UInt8(ascii: "0")
        Self.putOctal(Int64(major), digits: 7, at: 329, in: &out)
        Self.putOctal(Int64(minor), digits: 7, at: 337, in: &out)
        Self.put(split.prefix, at: 345, in: &out)
        for index in 148..<156 { out[index] = UInt8(ascii: " ") }  // The sum counts its own field as blanks.
        let sum = out.reduce(0) { $0 + Int64($1) }
        Self.putOctal(sum, digits: 6, at: 148, in: &out)
        out[154] = 0
        return out
    }

    private static func put(_ bytes: [UInt8], at offset: Int, in out: inout [UInt8]) {
        out.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
    }

    private static func putOctal(_ value: Int64, digits: Int, at offset: Int, in out: inout [UInt8]) {
        let text = Array(String(value, radix: 8).utf8.suffix(digits))
        put([UInt8](repeating: UInt8(ascii: "0"), count: digits - text.count) + text, at: offset, in: &out)
    }
}
