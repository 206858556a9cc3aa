package import ClusterKeys

/// The ring of real keys.
package typealias ClusterKeyRing = KeyRing<ClusterKey>

extension ClusterKey: RingKey {}

extension KeyRing where Key == ClusterKey {
    static var mapKeyBytes: Int { 16 }
    /// A key file is at most this long: four keys with comments.
    private static var fileBytesMax: Int { 16 << 10 }

    /// A ring of one or more keys.
    package init(primary: ClusterKey, others: [ClusterKey] = []) {
        precondition(others.count < Self.keysMax, "at most \(Self.keysMax) keys, got \(others.count + 1)")
        self.init(
            entries: [Entry(key: primary, generation: 1)] + others.map { Entry(key: $0) },
            mapKey: Self.mapKey(from: primary))
    }

    /// The ring of a node without a key.
    package static func withoutKey() throws -> ClusterKeyRing {
        let key = try ClusterKey.publicDefault()
        return ClusterKeyRing(
            entries: [Entry(key: key, generation: 1)], mapKey: mapKey(from: key), isSecret: false)
    }

    private static func mapKey(from first: ClusterKey) -> [UInt8] {
        Array(KeyedHash.hash(Array("cache map hash".utf8), key: first.secret).prefix(mapKeyBytes))
    }

    /// Reads a key file: one base64 key a line, the sealing one first; blank lines and lines that begin with `#` are skipped.
    ///
    /// A file that group or others may read or write is refused.
    package init(file path: String) throws {
        let content = try SecretFile.read(path, bytesMax: Self.fileBytesMax)
        var keys: [ClusterKey] = []
        let lines = content.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let text = String(decoding: line.filter { $0 > 32 }, as: UTF8.self)
            guard !text.isEmpty, !text.hasPrefix("#") else { continue }
            keys.append(try ClusterKey(base64: text, place: "\(path), line \(index + 1)"))
        }
        guard let first = keys.first, keys.count <= Self.keysMax else {
            throw SodiumError.malformed(
                what: "holds \(keys.count) keys", place: path,
                remedy: "put 1 to \(Self.keysMax) keys into it, one a line; `peerbuild keygen` makes them")
        }
        self.init(primary: first, others: Array(keys.dropFirst()))
    }

    /// The key that seals.
    package var primary: ClusterKey { entries[0].key }

    /// All keys that open, the primary first, those in their grace last.
    package var keys: [ClusterKey] { entries.map(\.key) }
}
