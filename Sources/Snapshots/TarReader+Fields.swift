internal import Transfer

// What stands in the fields of headers and in PAX records.
extension TarReader {
    static func padding(_ size: Int64) -> Int64 {
        (Int64(blockBytes) - size % Int64(blockBytes)) % Int64(blockBytes)
    }

    static func text(_ field: ArraySlice<UInt8>) -> [UInt8] { Array(field.prefix { $0 != 0 }) }

    /// An octal number, or GNU's base 256 with the top bit of the first byte set.
    static func number(_ field: ArraySlice<UInt8>, at start: Int64) throws -> Int64 {
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

    static func id(_ number: Int64, at start: Int64) throws -> UInt32 {
        guard let id = UInt32(exactly: number) else {
            throw ArchiveError.malformedHeader(atByte: start, "id \(number) is out of range")
        }
        return id
    }

    /// "seconds.fraction", possibly negative; digits beyond nanoseconds are cut off.
    static func time(_ text: String) -> FileTime? {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, let seconds = Int64(whole), seconds.magnitude < 1 << 55 else { return nil }
        guard parts.count == 2 else { return FileTime(seconds: seconds) }
        let digits = parts[1].prefix(9)
        guard parts[1].allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
        let padded = digits + String(repeating: "0", count: 9 - digits.count)
        guard let nanoseconds = UInt32(padded) else { return nil }
        guard whole.hasPrefix("-"), nanoseconds > 0 else { return FileTime(seconds: seconds, nanoseconds: nanoseconds) }
        return FileTime(seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds)
    }

    /// `=` and `%` in attribute names, as GNU tar writes them.
    static func unescaped(_ name: ArraySlice<UInt8>) -> [UInt8] {
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
