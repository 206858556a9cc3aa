internal import CSodium

/// A node's Ed25519 key pair: what it signs with, and what its id comes from.
package struct NodeIdentity: Sendable {
    package static let publicKeyBytes = 32
    package static let signatureBytes = 64
    private static let seedBytes = 32
    /// First bytes of an identity file: format and version.
    private static let magic = Array("peerbuild identity 1\n".utf8)

    private let secretKey: SecretBytes
    package let publicKey: [UInt8]

    /// First 8 bytes, big-endian, of BLAKE2b of the public key: the raw value of the node's `PeerID`.
    package var id: UInt64 { Self.id(ofPublicKey: publicKey) }

    /// A new identity.
    package static func generate() throws -> NodeIdentity {
        try NodeIdentity(seed: try .random(count: seedBytes))
    }

    private init(seed: SecretBytes) throws {
        var publicKey = [UInt8](repeating: 0, count: Self.publicKeyBytes)
        secretKey = try SecretBytes(count: 64) { target in
            _ = seed.withBytes { crypto_sign_seed_keypair(&publicKey, target, $0) }
        }
        self.publicKey = publicKey
    }

    /// Reads the identity at `path`, or makes one and stores it there with mode 0600.
    package static func loadOrCreate(file path: String) throws -> NodeIdentity {
        if SecretFile.exists(path) { return try load(file: path) }
        let seed = try SecretBytes.random(count: seedBytes)
        try SecretFile.write(
            magic + seed.withBytes { Array(UnsafeBufferPointer(start: $0, count: seedBytes)) }, to: path)
        return try NodeIdentity(seed: seed)
    }

    private static func load(file path: String) throws -> NodeIdentity {
        let content = try SecretFile.read(path, bytesMax: magic.count + seedBytes)
        guard content.count == magic.count + seedBytes, content.starts(with: magic) else {
            throw SodiumError.malformed(
                what: "not a node identity", place: path,
                remedy: "restore it from a backup, or delete it to give the node a new identity")
        }
        return try NodeIdentity(
            seed: try SecretBytes(count: seedBytes) {
                $0.update(from: Array(content.suffix(seedBytes)), count: seedBytes)
            })
    }

    /// Signs `message`.
    package func sign(_ message: [UInt8]) -> [UInt8] {
        var signature = [UInt8](repeating: 0, count: Self.signatureBytes)
        _ = secretKey.withBytes { crypto_sign_detached(&signature, nil, message, UInt64(message.count), $0) }
        return signature
    }

    /// Whether `signature` over `message` was made by the owner of `publicKey`.
    package static func verify(_ signature: [UInt8], of message: [UInt8], publicKey: [UInt8]) -> Bool {
        guard signature.count == signatureBytes, publicKey.count == publicKeyBytes else { return false }
        return crypto_sign_verify_detached(signature, message, UInt64(message.count), publicKey) == 0
    }

    /// The node id that belongs to a public key.
    package static func id(ofPublicKey publicKey: [UInt8]) -> UInt64 {
        KeyedHash.hash(publicKey).prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}
