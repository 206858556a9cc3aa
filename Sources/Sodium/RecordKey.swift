internal import CSodium

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

/// A key that seals records in place, with a counter as nonce; its schedule is computed once.
///
/// A counter must never be used twice with one key.
package struct RecordKey: Sendable {
    package static let keyBytes = 32
    /// What sealing adds behind the text.
    package static let tagBytes = 16
    /// Both algorithms take 96 bits: four zero bytes and the counter.
    private static let nonceBytes = 12

    package let algorithm: RecordAlgorithm
    private let secret: SecretBytes
    /// The expanded key; nil for ChaCha20, which has none.
    private let schedule: SecretBytes?

    /// Wraps a 32-byte secret; `algorithm` is one of `RecordAlgorithm.available`.
    package init(_ secret: SecretBytes, algorithm: RecordAlgorithm) throws {
        precondition(secret.count == Self.keyBytes, "a record key has \(Self.keyBytes) bytes, not \(secret.count)")
        precondition(RecordAlgorithm.available.contains(algorithm), "\(algorithm) on a processor without it")
        self.algorithm = algorithm
        self.secret = secret
        switch algorithm {
        case .chacha20Poly1305: schedule = nil
        case .aes256GCM:
            schedule = try SecretBytes(count: MemoryLayout<crypto_aead_aes256gcm_state>.stride) { target in
                _ = secret.withBytes { crypto_aead_aes256gcm_beforenm(Self.state(target), $0) }
            }
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
            switch schedule {
            case nil:
                _ = secret.withBytes { key in
                    crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                        text, text + count, nil, text, UInt64(count), header, UInt64(headerCount), nil, nonce, key)
                }
            case let schedule?:
                _ = schedule.withBytes { expanded in
                    crypto_aead_aes256gcm_encrypt_detached_afternm(
                        text, text + count, nil, text, UInt64(count), header, UInt64(headerCount), nil, nonce,
                        Self.state(expanded))
                }
            }
        }
    }

    /// Opens `count` bytes at `text`, whose tag lies behind them, in place; false when the key, the header, the counter
    /// or a byte is wrong.
    package func open(
        _ text: UnsafeMutablePointer<UInt8>, count: Int, counter: UInt64, header: UnsafePointer<UInt8>,
        headerCount: Int
    ) -> Bool {
        let status = withNonce(counter) { nonce in
            switch schedule {
            case nil:
                secret.withBytes { key in
                    crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                        text, nil, text, UInt64(count), text + count, header, UInt64(headerCount), nonce, key)
                }
            case let schedule?:
                schedule.withBytes { expanded in
                    crypto_aead_aes256gcm_decrypt_detached_afternm(
                        text, nil, text, UInt64(count), text + count, header, UInt64(headerCount), nonce,
                        Self.state(expanded))
                }
            }
        }
        return status == 0
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

    private static func state(
        _ bytes: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<crypto_aead_aes256gcm_state> {
        UnsafeMutableRawPointer(bytes).assumingMemoryBound(to: crypto_aead_aes256gcm_state.self)
    }

    private static func state(_ bytes: UnsafePointer<UInt8>) -> UnsafePointer<crypto_aead_aes256gcm_state> {
        UnsafeRawPointer(bytes).assumingMemoryBound(to: crypto_aead_aes256gcm_state.self)
    }
}
