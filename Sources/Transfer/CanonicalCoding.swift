internal import OCI

/// Appends numbers and byte strings in the one form that `CanonicalReader` accepts.
struct CanonicalWriter {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ byte: UInt8) { bytes.append(byte) }
    mutating func append(_ content: some Collection<UInt8>) { bytes.append(contentsOf: content) }

    /// LEB128, shortest form.
    mutating func append(number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// Zigzag, so that small negative numbers are short.
    mutating func append(signed: Int64) { append(number: UInt64(bitPattern: (signed << 1) ^ (signed >> 63))) }

    mutating func append(counted content: some Collection<UInt8>) {
        append(number: UInt64(content.count))
        append(content)
    }
}

/// Reads what `CanonicalWriter` wrote; every length is checked before anything is allocated.
struct CanonicalReader {
    private let bytes: [UInt8]
    private(set) var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var remaining: Int { bytes.count - position }

    mutating func byte() throws(ManifestError) -> UInt8 {
        guard position < bytes.count else { throw .truncated(atByte: position) }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func take(_ count: Int) throws(ManifestError) -> ArraySlice<UInt8> {
        guard count <= remaining else { throw .truncated(atByte: bytes.count) }
        defer { position += count }
        return bytes[position..<position + count]
    }

    mutating func number(atMost maximum: UInt64 = .max) throws(ManifestError) -> UInt64 {
        let start = position
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let next = try byte()
            guard shift < 63 || next <= 1 else { throw .notCanonical("a number has more than 64 bits", atByte: start) }
            result |= UInt64(next & 0x7F) << shift
            if next & 0x80 == 0 {
                guard next != 0 || shift == 0 else {
                    throw .notCanonical("a number is not in its shortest form", atByte: start)
                }
                break
            }
            shift += 7
        }
        guard result <= maximum else { throw .limit("a number", value: result, maximum: maximum) }
        return result
    }

    mutating func signed() throws(ManifestError) -> Int64 {
        let folded = try number()
        return Int64(bitPattern: folded >> 1) ^ -Int64(bitPattern: folded & 1)
    }

    mutating func digest() throws(ManifestError) -> Digest {
        guard let digest = Digest(bytes: try take(Digest.byteCount)) else { throw .truncated(atByte: position) }
        return digest
    }

    mutating func counted(atMost maximum: Int) throws(ManifestError) -> [UInt8] {
        let count = Int(try number(atMost: UInt64(maximum)))
        return [UInt8](try take(count))
    }
}
