internal import Crypto

/// A SHA-256 content digest, written `sha256:` and 64 lower-case hex digits (OCI image-spec, "Digests").
package struct Digest: Hashable, Sendable, Comparable {
    /// Number of raw bytes in a digest.
    package static let byteCount = 32
    private static let prefix = "sha256:"

    /// The raw hash, `byteCount` bytes.
    package let bytes: [UInt8]

    /// Wraps raw hash bytes; nil unless there are exactly `byteCount`.
    package init?(bytes: some Sequence<UInt8>) {
        let copy = [UInt8](bytes)
        guard copy.count == Self.byteCount else { return nil }
        self.bytes = copy
    }

    /// Parses the `sha256:<hex>` form; nil for any other algorithm, length or letter.
    package init?(_ text: String) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        self.init(hex: text.dropFirst(Self.prefix.count))
    }

    /// Parses 64 lower-case hex digits.
    package init?(hex: some StringProtocol) {
        let digits = Array(hex.utf8)
        guard digits.count == Self.byteCount * 2 else { return nil }
        var raw: [UInt8] = []
        raw.reserveCapacity(Self.byteCount)
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(ofHexDigit: digits[index]), let low = Self.value(ofHexDigit: digits[index + 1])
            else { return nil }
            raw.append(high << 4 | low)
        }
        bytes = raw
    }

    private init(hash: SHA256.Digest) {
        bytes = [UInt8](hash)
    }

    /// The digest of `content`.
    package static func of(_ content: some Sequence<UInt8>) -> Digest {
        var hasher = DigestHasher()
        hasher.update(content)
        return hasher.finish()
    }

    /// The digest of bytes in memory.
    package static func of(_ content: UnsafeRawBufferPointer) -> Digest {
        var hasher = DigestHasher()
        hasher.update(content)
        return hasher.finish()
    }

    /// The 64 hex digits without the algorithm.
    package var hex: String {
        var text: [UInt8] = []
        text.reserveCapacity(Self.byteCount * 2)
        for byte in bytes {
            text.append(Self.hexDigits[Int(byte >> 4)])
            text.append(Self.hexDigits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    package static func < (left: Digest, right: Digest) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }

    private static let hexDigits = Array("0123456789abcdef".utf8)

    private static func value(ofHexDigit digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    fileprivate static func wrap(_ hash: SHA256.Digest) -> Digest { Digest(hash: hash) }
}

extension Digest: CustomStringConvertible {
    package var description: String { "sha256:" + hex }
}

extension Digest: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let digest = Digest(text) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "\"\(text)\" is no digest: expected sha256: and 64 hex digits")
        }
        self = digest
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// Computes a `Digest` over bytes that arrive in pieces.
package struct DigestHasher: Sendable {
    private var hasher = SHA256()

    package init() {}

    package mutating func update(_ content: some Sequence<UInt8>) {
        let done: Void? = content.withContiguousStorageIfAvailable {
            hasher.update(bufferPointer: UnsafeRawBufferPointer($0))
        }
        if done == nil { hasher.update(data: [UInt8](content)) }
    }

    package mutating func update(_ content: UnsafeRawBufferPointer) {
        hasher.update(bufferPointer: content)
    }

    /// The digest of everything so far; the hasher may be updated further.
    package func finish() -> Digest { Digest.wrap(hasher.finalize()) }
}
