/// IP addresses as bytes of a DNS record and as text.
enum IPAddressText {
    /// 4 or 16 bytes in text form; nil for other sizes and for addresses that no node is reached at by all.
    static func text(of bytes: [UInt8]) -> String? {
        switch bytes.count {
        case 4:
            guard bytes[0] != 0, bytes[0] < 224 else { return nil }
            return bytes.map { "\($0)" }.joined(separator: ".")
        case 16:
            // Multicast, link-local, unspecified.
            guard bytes[0] != 0xFF, !(bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80), bytes.contains(where: { $0 != 0 })
            else { return nil }
            return stride(from: 0, to: 16, by: 2).map {
                String(Int(bytes[$0]) << 8 | Int(bytes[$0 + 1]), radix: 16)
            }.joined(separator: ":")
        default: return nil
        }
    }

    /// 4 or 16 bytes of an address in text form; nil when it is none.
    static func bytes(of text: String) -> [UInt8]? {
        if text.utf8.contains(UInt8(ascii: ":")) { return bytes(ofIPv6: text) }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let bytes = parts.compactMap { UInt8($0) }
        return parts.count == 4 && bytes.count == 4 ? bytes : nil
    }

    /// Groups of hex digits with one "::" at most (RFC 4291, section 2.2); no zone, no dotted tail.
    private static func bytes(ofIPv6 text: String) -> [UInt8]? {
        func groups(_ part: Substring) -> [UInt16]? {
            guard !part.isEmpty else { return [] }
            let texts = part.split(separator: ":", omittingEmptySubsequences: false)
            let numbers = texts.compactMap { $0.utf8.count <= 4 ? UInt16($0, radix: 16) : nil }
            return numbers.count == texts.count ? numbers : nil
        }
        var all: [UInt16]
        if let gap = text.firstRange(of: "::") {
            guard let head = groups(text[..<gap.lowerBound]), let tail = groups(text[gap.upperBound...]),
                head.count + tail.count < 8
            else { return nil }
            all = head + [UInt16](repeating: 0, count: 8 - head.count - tail.count) + tail
        } else {
            guard let whole = groups(text[...]) else { return nil }
            all = whole
        }
        guard all.count == 8 else { return nil }
        return all.flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    }
}
