internal import CLinux
internal import Glibc

/// Reads the entries of a tar archive (POSIX ustar and pax, GNU long names) from a descriptor, in order.
final class TarReader {
    static let blockBytes = 512
    /// Pax headers and GNU long names of one entry together.
    private static let extensionBytesMax = 1 << 20
    private static let pieceBytes = 256 << 10

    struct Entry {
        var path: [UInt8]
        var link: [UInt8]
        var type: UInt8
        var mode: UInt32
        var uid: UInt32
        var gid: UInt32
        var size: Int64
        var time: timespec
        var device: dev_t
        var attributes: [(name: String, value: [UInt8])]
    }

    private let file: FileDescriptor
    private let name: String
    private var remaining: Int64 = 0
    private var padding: Int64 = 0
    /// Of the entry that is being read: bytes of pax headers and GNU long names so far.
    private var extensionBytes: Int64 = 0

    init(_ file: FileDescriptor, name: String) {
        self.file = file
        self.name = name
    }

    /// Whether a block is a header: its checksum is right, as ustar or the older format has it.
    static func isHeader(_ block: [UInt8]) -> Bool {
        guard block.count == blockBytes, let stated = try? number(block[148..<156]) else { return false }
        let sum = block.enumerated().reduce(Int64(0)) {
            $0 + Int64((148..<156).contains($1.offset) ? 0x20 : $1.element)
        }
        return sum == stated && block[0] != 0
    }

    /// The next entry; nil at the end.
    func next() throws(OperationError) -> Entry? {
        var extensions: [String: [UInt8]] = [:]
        var longName: [UInt8]?
        var longLink: [UInt8]?
        extensionBytes = 0
        while true {
            // One after the other: with the padding the largest size has more than 64 bits.
            try skip(remaining)
            try skip(padding)
            (remaining, padding) = (0, 0)
            guard let block = try readBlock(), block.contains(where: { $0 != 0 }) else { return nil }
            guard Self.isHeader(block) else { throw .invalid("\(name): a tar header is damaged") }
            var entry = try Self.entry(block)
            setBody(entry.size)
            switch entry.type {
            case UInt8(ascii: "x"): extensions.merge(try Self.records(try body(), name)) { $1 }
            case UInt8(ascii: "g"): continue
            case UInt8(ascii: "L"): longName = Array(try body().prefix { $0 != 0 })
            case UInt8(ascii: "K"): longLink = Array(try body().prefix { $0 != 0 })
            case UInt8(ascii: "S"): throw .unsupported("\(name): sparse files in GNU format are not supported")
            default:
                entry.path = longName ?? entry.path
                entry.link = longLink ?? entry.link
                try Self.apply(extensions, to: &entry, name)
                setBody(entry.size)
                return entry
            }
        }
    }

    /// Hands the current entry's content on in pieces.
    func content(_ piece: (ArraySlice<UInt8>) throws(OperationError) -> Void) throws(OperationError) {
        var buffer = [UInt8](repeating: 0, count: Int(min(remaining, Int64(Self.pieceBytes))))
        while remaining > 0 {
            let count = try fill(&buffer, upTo: Int(min(remaining, Int64(buffer.count))))
            guard count > 0 else { throw .invalid("\(name): the archive ends inside a file") }
            remaining -= Int64(count)
            try piece(buffer[..<count])
        }
    }

    /// One block; nil at the end of the file.
    func readBlock() throws(OperationError) -> [UInt8]? {
        var block = [UInt8](repeating: 0, count: Self.blockBytes)
        return try fill(&block, upTo: block.count) == block.count ? block : nil
    }

    private func setBody(_ size: Int64) {
        remaining = size
        padding = (Int64(Self.blockBytes) - size % Int64(Self.blockBytes)) % Int64(Self.blockBytes)
    }

    private func body() throws(OperationError) -> [UInt8] {
        guard remaining <= Int64(Self.extensionBytesMax) - extensionBytes else {
            throw .invalid(
                "\(name): the extension headers of a tar entry have more than \(Self.extensionBytesMax) bytes")
        }
        extensionBytes += remaining
        var content: [UInt8] = []
        try self.content { (piece) throws(OperationError) in content += piece }
        return content
    }

    private func skip(_ count: Int64) throws(OperationError) {
        var left = count
        var buffer = [UInt8](repeating: 0, count: Int(min(left, Int64(Self.pieceBytes))))
        while left > 0 {
            let got = try fill(&buffer, upTo: Int(min(left, Int64(buffer.count))))
            guard got > 0 else { return }
            left -= Int64(got)
        }
    }

    private func fill(_ buffer: inout [UInt8], upTo wanted: Int) throws(OperationError) -> Int {
        var done = 0
        while done < wanted {
            let count = buffer.withUnsafeMutableBytes { bytes in
                bytes.baseAddress.map { read(file.number, $0 + done, wanted - done) } ?? 0
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw .system(call: "read \(name)", code: errno)
            }
            if count == 0 { break }
            done += count
        }
        return done
    }

    private static func entry(_ block: [UInt8]) throws(OperationError) -> Entry {
        var path = text(block[0..<100])
        if Array(block[257..<263]) == Array("ustar\0".utf8) {
            let prefix = text(block[345..<500])
            if !prefix.isEmpty { path = prefix + [UInt8(ascii: "/")] + path }
        }
        let size = try number(block[124..<136])
        guard size >= 0 else { throw .invalid("a tar entry has a negative size") }
        let device = clinuxDevice(try number(block[329..<337]), try number(block[337..<345]))
        // Links have no content, whatever the size field says.
        let hasContent = ![UInt8(ascii: "1"), UInt8(ascii: "2")].contains(block[156])
        return Entry(
            path: path, link: text(block[157..<257]), type: block[156],
            mode: UInt32(truncatingIfNeeded: try number(block[100..<108])) & 0o7777,
            uid: UInt32(truncatingIfNeeded: try number(block[108..<116])),
            gid: UInt32(truncatingIfNeeded: try number(block[116..<124])), size: hasContent ? size : 0,
            time: timespec(tv_sec: Int(try number(block[136..<148])), tv_nsec: 0), device: device, attributes: [])
    }

    private static func clinuxDevice(_ major: Int64, _ minor: Int64) -> dev_t {
        TarDevice.number(major: UInt32(truncatingIfNeeded: major), minor: UInt32(truncatingIfNeeded: minor))
    }

    private static func text(_ field: ArraySlice<UInt8>) -> [UInt8] { Array(field.prefix { $0 != 0 }) }

    /// Octal digits, or the binary form of large numbers (first bit set).
    private static func number(_ field: ArraySlice<UInt8>) throws(OperationError) -> Int64 {
        if let first = field.first, first & 0x80 != 0 {
            var value: Int64 = first & 0x40 != 0 ? -1 : 0
            for (offset, byte) in field.enumerated() {
                value = value << 8 | Int64(offset == 0 ? (first & 0x40 != 0 ? byte : byte & 0x7F) : byte)
            }
            return value
        }
        let digits = field.filter { $0 != 0 && $0 != 0x20 }
        guard !digits.isEmpty else { return 0 }
        guard let value = Int64(String(decoding: digits, as: UTF8.self), radix: 8) else {
            throw .invalid("a tar header has a number that is not octal")
        }
        return value
    }

    /// Records `LENGTH KEY=VALUE\n` of a pax header.
    private static func records(_ body: [UInt8], _ name: String) throws(OperationError) -> [String: [UInt8]] {
        var records: [String: [UInt8]] = [:]
        var rest = body[...]
        while !rest.isEmpty {
            guard let space = rest.firstIndex(of: 0x20),
                let length = Int(String(decoding: rest[..<space], as: UTF8.self)), length > space - rest.startIndex + 1,
                length <= rest.count, let equals = rest[space...].firstIndex(of: UInt8(ascii: "=")),
                // The last byte ends the record, whatever it is.
                equals < rest.startIndex + length - 1
            else { throw .invalid("\(name): a pax header is damaged") }
            let end = rest.startIndex + length
            records[String(decoding: rest[(space + 1)..<equals], as: UTF8.self)] = Array(rest[(equals + 1)..<(end - 1)])
            rest = rest[end...]
        }
        return records
    }

    private static func apply(
        _ records: [String: [UInt8]], to entry: inout Entry, _ name: String
    ) throws(OperationError) {
        for (key, value) in records.sorted(by: { $0.key < $1.key }) {
            let text = String(decoding: value, as: UTF8.self)
            switch key {
            case "path": entry.path = value
            case "linkpath": entry.link = value
            case "size":
                guard let size = Int64(text), size >= 0 else { throw .invalid("\(name): a pax size is no number") }
                entry.size = size
            case "uid": entry.uid = UInt32(text) ?? entry.uid
            case "gid": entry.gid = UInt32(text) ?? entry.gid
            case "mtime": entry.time = time(text) ?? entry.time
            case _ where key.hasPrefix("SCHILY.xattr."):
                entry.attributes.append((String(key.dropFirst("SCHILY.xattr.".count)), value))
            case _ where key.hasPrefix("GNU.sparse."):
                throw .unsupported("\(name): sparse files in GNU format are not supported")
            default: continue
            }
        }
    }

    /// Seconds with an optional fraction.
    private static func time(_ text: String) -> timespec? {
        let parts = text.split(separator: ".", maxSplits: 1).map(String.init)
        // A fraction of the earliest second would begin before it.
        guard let first = parts.first, let seconds = Int(first), seconds > .min else { return nil }
        let digits = parts.count > 1 ? String((parts[1] + "000000000").prefix(9)) : "0"
        guard let nanoseconds = Int(digits) else { return nil }
        guard first.hasPrefix("-"), nanoseconds > 0 else { return timespec(tv_sec: seconds, tv_nsec: nanoseconds) }
        return timespec(tv_sec: seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds)
    }
}
