/// The cluster keys of a node: the first seals, all open, so that keys can be replaced one node at a time.
package struct ClusterKeyRing: Sendable {
    /// Two are needed to replace a key; more only while a replacement was interrupted.
    package static let keysMax = 4
    /// A key file is at most this long: four keys with comments.
    static let fileBytesMax = 16 << 10

    /// The key that seals.
    package let primary: ClusterKey
    /// All keys, the primary first.
    package let keys: [ClusterKey]
    /// Whether the keys are secret; false for a node without a key, which must stay on loopback.
    package let isSecret: Bool

    /// A ring of one or more keys.
    package init(primary: ClusterKey, others: [ClusterKey] = []) {
        precondition(others.count < Self.keysMax, "at most \(Self.keysMax) keys, got \(others.count + 1)")
        self.primary = primary
        keys = [primary] + others
        isSecret = true
    }

    private init(publicKey: ClusterKey) {
        primary = publicKey
        keys = [publicKey]
        isSecret = false
    }

    /// The ring of a node without a key.
    package static func withoutKey() throws -> ClusterKeyRing { ClusterKeyRing(publicKey: try .publicDefault()) }

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
}
