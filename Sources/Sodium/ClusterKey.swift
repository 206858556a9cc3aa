internal import CSodium
package import ClusterKeys

/// The 32-byte secret that all nodes of a cluster share.
package struct ClusterKey: Sendable {
    package static let byteCount = 32

    /// The key's bytes, for derivations.
    package let secret: SecretBytes

    private init(secret: SecretBytes) { self.secret = secret }

    /// A new random key, as `peerbuild keygen` prints it.
    package static func generate() throws -> ClusterKey {
        ClusterKey(secret: try .random(count: byteCount))
    }

    /// The key of a node that was given none: the same everywhere, so it keeps nobody out.
    ///
    /// Whoever uses it must not listen beyond loopback.
    package static func publicDefault() throws -> ClusterKey {
        let hash = KeyedHash.hash(Array("peerbuild: no cluster key".utf8), count: byteCount)
        return ClusterKey(secret: try SecretBytes(count: byteCount) { $0.update(from: hash, count: byteCount) })
    }

    /// Parses base64 (standard alphabet, with padding) of exactly 32 bytes.
    ///
    /// `place` says where the text came from, for the error.
    package init(base64 text: String, place: String) throws {
        let letters = Array(text.utf8).map { CChar(bitPattern: $0) }
        var decoded = 0
        secret = try SecretBytes(count: Self.byteCount) { target in
            let status = sodium_base642bin(
                target, Self.byteCount, letters, letters.count, nil, &decoded, nil,
                Int32(sodium_base64_VARIANT_ORIGINAL))
            guard status == 0, decoded == Self.byteCount else {
                throw SodiumError.malformed(
                    what: "not a cluster key: expected base64 of \(Self.byteCount) bytes", place: place,
                    remedy: "make one with `peerbuild keygen`")
            }
        }
    }

    /// A key of exactly 32 bytes.
    init(bytes: ArraySlice<UInt8>) throws {
        precondition(bytes.count == Self.byteCount, "a cluster key has \(Self.byteCount) bytes, not \(bytes.count)")
        secret = try SecretBytes(count: Self.byteCount) { $0.update(from: Array(bytes), count: Self.byteCount) }
    }

    /// The key as base64: 44 characters.
    package var base64: String {
        let capacity = 45  // 4 letters for each 3 bytes begun, and a zero.
        var text = [CChar](repeating: 0, count: capacity)
        secret.withBytes {
            _ = sodium_bin2base64(&text, capacity, $0, Self.byteCount, Int32(sodium_base64_VARIANT_ORIGINAL))
        }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Low byte of the key's hash: says which key of a ring sealed a packet, and nothing else about it.
    package var id: UInt8 { KeyedHash.hash(Array("key id".utf8), key: secret)[0] }

    /// Names the key to people and peers, and says nothing about it.
    package var fingerprint: KeyFingerprint {
        let hash = KeyedHash.hash(Array("key fingerprint".utf8), key: secret)
        return KeyFingerprint(rawValue: hash.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// A secret derived for one purpose.
    package func derive(_ label: String) throws -> SecretBytes {
        try KeyedHash.derive(from: secret, label: Array(label.utf8))
    }
}
