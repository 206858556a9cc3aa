internal import CSodium
internal import Crypto
internal import Foundation

/// How the records of a link can be sealed; the numbers are on the wire.
package enum RecordAlgorithm: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    /// ChaCha20-Poly1305 (RFC 8439): on every machine.
    case chacha20Poly1305 = 1
    /// AES-256-GCM (NIST SP 800-38D): where the processor has instructions for it.
    case aes256GCM = 2

    /// What this machine can do, best first.
    package static let available: [RecordAlgorithm] = {
        // The library knows the processor only once it is started.
        guard (try? SodiumLibrary.start()) != nil, crypto_aead_aes256gcm_is_available() == 1 else {
            return [.chacha20Poly1305]
        }
        return [.aes256GCM, .chacha20Poly1305]
    }()

    /// Its name, for people.
    package var description: String {
        switch self {
        case .chacha20Poly1305: "ChaCha20-Poly1305"
        case .aes256GCM: "AES-256-GCM"
        }
    }
}

/// A key that seals records in place, with a counter as nonce.
///
/// AES-256-GCM is swift-crypto's, whose code for processors with vector AES is several times as fast as libsodium's, even
/// though it seals into memory of its own.
/// A counter must never be used twice with one key.
package struct RecordKey: Sendable {
    package static let keyBytes = 32
    /// What sealing adds behind the text.
    package static let tagBytes = 16
    /// Both algorithms take 96 bits: four zero bytes and the counter.
    private static let nonceBytes = 12

    package let algorithm: RecordAlgorithm
    private let secret: SecretBytes
    /// Nil for ChaCha20, which libsodium does.
    private let aesKey: SymmetricKey?

    /// Wraps a 32-byte secret; `algorithm` is one of `RecordAlgorithm.available`.
    package init(_ secret: SecretBytes, algorithm: RecordAlgorithm) throws {
        precondition(secret.count == Self.keyBytes, "a record key has \(Self.keyBytes) bytes, not \(secret.count)")
        precondition(RecordAlgorithm.available.contains(algorithm), "\(algorithm) on a processor without it")
        self.algorithm = algorithm
        self.secret = secret
        switch algorithm {
        case .chacha20Poly1305: aesKey = nil
        case .aes256GCM:
            aesKey = secret.withBytes { SymmetricKey(data: UnsafeRawBufferPointer(start: $0, count: Self.keyBytes)) }
        }
    }

    /// The key that follows this one; nobody can compute backwards.
    package func next(label: [UInt8]) throws -> RecordKey {
        try RecordKey(try KeyedHash.derive(from: secret, label: label), algorithm: algorithm)
    }

    /// Seals `count` bytes at `text` in place and writes the tag into the 16 bytes behind them, which must be there.
    ///
    /// `header` is authenticated and stays as it is.
    package func seal(
        _ text: UnsafeMutablePointer<UInt8>, count: Int, counter: UInt64, header: UnsafePointer<UInt8>,
        headerCount: Int
    ) {
        withNonce(counter) { nonce in
            guard let aesKey else {
                _ = secret.withBytes { key in
                    crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                        text, text + count, nil, text, UInt64(count), header, UInt64(headerCount), nil, nonce, key)
                }
                return
            }
            let box: AES.GCM.SealedBox
            do {
                box = try AES.GCM.seal(
                    UnsafeRawBufferPointer(start: text, count: count), using: aesKey,
                    nonce: AES.GCM.Nonce(data: UnsafeRawBufferPointer(start: nonce, count: Self.nonceBytes)),
                    authenticating: UnsafeRawBufferPointer(start: header, count: headerCount))
            } catch { preconditionFailure("AES-256-GCM refused \(count) bytes: \(error)") }
            box.ciphertext.copyBytes(to: text, count: count)
            box.tag.copyBytes(to: text + count, count: Self.tagBytes)
        }
    }

    /// Opens `count` bytes at `text`, whose tag lies behind them, in place; false when the key, the header, the counter
    /// or a byte is wrong.
    package func open(
        _ text: UnsafeMutablePointer<UInt8>, count: Int, counter: UInt64, header: UnsafePointer<UInt8>,
        headerCount: Int
    ) -> Bool {
        withNonce(counter) { nonce in
            guard let aesKey else {
                return secret.withBytes { key in
                    crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                        text, nil, text, UInt64(count), text + count, header, UInt64(headerCount), nonce, key)
                } == 0
            }
            do {
                let box = try AES.GCM.SealedBox(
                    nonce: AES.GCM.Nonce(data: UnsafeRawBufferPointer(start: nonce, count: Self.nonceBytes)),
                    ciphertext: UnsafeRawBufferPointer(start: text, count: count),
                    tag: UnsafeRawBufferPointer(start: text + count, count: Self.tagBytes))
                let plain = try AES.GCM.open(
                    box, using: aesKey, authenticating: UnsafeRawBufferPointer(start: header, count: headerCount))
                plain.copyBytes(to: text, count: count)
                return true
            } catch { return false }
        }
    }

    private func withNonce<Result>(_ counter: UInt64, _ body: (UnsafePointer<UInt8>) -> Result) -> Result {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.nonceBytes) { nonce in
            for index in nonce.indices {
                let shift = (Self.nonceBytes - 1 - index) * 8
                nonce[index] = shift < UInt64.bitWidth ? UInt8(truncatingIfNeeded: counter >> UInt64(shift)) : 0
            }
            // Never nil: it has a capacity.
            guard let start = nonce.baseAddress else { preconditionFailure("no nonce") }
            return body(start)
        }
    }
}
