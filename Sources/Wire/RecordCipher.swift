internal import Sodium

/// One direction of a link: seals or opens records with a counter as nonce, and takes the next key by bytes.
///
/// A record is a length (2 bytes, of the ciphertext) and the ciphertext; the length is authenticated.
struct RecordCipher {
    static let lengthBytes = 2
    /// Longest plaintext of a record.
    static let plaintextBytesMax = WireLimits.recordBytesMax - SealingKey.tagBytes

    private var key: SealingKey
    private var counter: UInt64 = 0
    private var bytesUnderKey = 0
    private let rekeyBytes: Int

    init(key: SealingKey, rekeyBytes: Int = WireLimits.rekeyBytes) {
        self.key = key
        self.rekeyBytes = rekeyBytes
    }

    /// Seals what `record` holds after its first `lengthBytes` bytes, which are reserved for the length.
    mutating func seal(record: inout [UInt8]) throws {
        let plain = record.count - Self.lengthBytes
        precondition((0...Self.plaintextBytesMax).contains(plain), "record of \(plain) bytes")
        let sealed = plain + SealingKey.tagBytes
        record[0] = UInt8(sealed >> 8)
        record[1] = UInt8(sealed & 255)
        record.append(contentsOf: repeatElement(0, count: SealingKey.tagBytes))
        key.seal(
            &record, range: Self.lengthBytes..<Self.lengthBytes + plain, nonce: nonce(),
            authenticating: [record[0], record[1]])
        try advance(by: plain)
    }

    /// Opens `buffer[range]`, a record without its length, in place; nil when it is not the next record of this link.
    mutating func open(_ buffer: inout [UInt8], range: Range<Int>) throws -> Range<Int>? {
        let header = [UInt8(range.count >> 8), UInt8(range.count & 255)]
        guard let plain = key.open(&buffer, range: range, nonce: nonce(), authenticating: header) else { return nil }
        try advance(by: plain.count)
        return plain
    }

    private func nonce() -> [UInt8] {
        var nonce = [UInt8](repeating: 0, count: SealingKey.nonceBytes - 8)
        nonce.append(number: counter)
        return nonce
    }

    private mutating func advance(by bytes: Int) throws {
        counter += 1
        bytesUnderKey += bytes
        guard bytesUnderKey >= rekeyBytes else { return }
        key = try key.next(label: Array("peerbuild rekey".utf8))
        counter = 0
        bytesUnderKey = 0
    }
}
