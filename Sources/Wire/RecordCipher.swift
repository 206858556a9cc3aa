internal import Sodium

/// One direction of a link: seals or opens records with a counter as nonce, and takes the next key by bytes and by
/// records.
///
/// A record is the length of its ciphertext (4 bytes, which are authenticated) and the ciphertext.
struct RecordCipher {
    static let lengthBytes = 4
    /// What a record is longer than its text.
    static let overhead = lengthBytes + RecordKey.tagBytes
    /// Lengths that a record can announce: a record without text says nothing.
    static let ciphertextBytes = RecordKey.tagBytes + 1...WireLimits.recordTextBytesMax + RecordKey.tagBytes

    private var key: RecordKey
    private var counter: UInt64 = 0
    private var bytesUnderKey = 0
    private let rekeyBytes: Int
    private let rekeyRecords: UInt64
    /// What has passed since the link's start.
    private(set) var passed = LinkReport.Direction()

    init(
        key: RecordKey, rekeyBytes: Int = WireLimits.rekeyBytes, rekeyRecords: UInt64 = WireLimits.rekeyRecords
    ) {
        self.key = key
        self.rekeyBytes = rekeyBytes
        self.rekeyRecords = rekeyRecords
    }

    var algorithm: RecordAlgorithm { key.algorithm }

    /// Seals a record in place: `textBytes` bytes after room for the length, before room for the tag.
    mutating func seal(_ record: UnsafeMutablePointer<UInt8>, textBytes: Int) throws {
        precondition((1...WireLimits.recordTextBytesMax).contains(textBytes), "record of \(textBytes) bytes")
        let sealed = UInt32(textBytes + RecordKey.tagBytes)
        for index in 0..<Self.lengthBytes {
            record[index] = UInt8(truncatingIfNeeded: sealed >> UInt32((Self.lengthBytes - 1 - index) * 8))
        }
        key.seal(
            record + Self.lengthBytes, count: textBytes, counter: counter, header: record,
            headerCount: Self.lengthBytes)
        try advance(by: textBytes)
    }

    /// Opens a record in place; false when it is not the next one of this link.
    mutating func open(_ record: UnsafeMutablePointer<UInt8>, textBytes: Int) throws -> Bool {
        let isNext = key.open(
            record + Self.lengthBytes, count: textBytes, counter: counter, header: record,
            headerCount: Self.lengthBytes)
        guard isNext else { return false }
        try advance(by: textBytes)
        return true
    }

    private mutating func advance(by bytes: Int) throws {
        counter += 1
        bytesUnderKey += bytes
        passed.records += 1
        passed.bytes += UInt64(bytes + Self.overhead)
        guard bytesUnderKey >= rekeyBytes || counter >= rekeyRecords else { return }
        key = try key.next(label: Array("peerbuild rekey".utf8))
        counter = 0
        bytesUnderKey = 0
        passed.rekeys += 1
    }
}
