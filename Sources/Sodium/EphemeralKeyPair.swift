internal import CSodium

/// An X25519 key pair for one handshake.
package struct EphemeralKeyPair: Sendable {
    package static let publicKeyBytes = 32

    private let secret: SecretBytes
    /// What the other side is told.
    package let publicKey: [UInt8]

    /// A fresh pair.
    package init() throws {
        let scalar = try SecretBytes.random(count: 32)
        secret = scalar
        var point = [UInt8](repeating: 0, count: Self.publicKeyBytes)
        _ = scalar.withBytes { crypto_scalarmult_base(&point, $0) }
        publicKey = point
    }

    /// The secret shared with the owner of `peerKey`; nil when that is of small order or not 32 bytes long.
    package func exchange(with peerKey: [UInt8]) throws -> SecretBytes? {
        guard peerKey.count == Self.publicKeyBytes else { return nil }
        var agreed = false
        let shared = try SecretBytes(count: 32) { target in
            agreed = secret.withBytes { crypto_scalarmult(target, $0, peerKey) == 0 }
        }
        return agreed ? shared : nil
    }
}
