internal import CSodium

/// A key of XChaCha20-Poly1305 (IETF construction): authenticated encryption in place.
///
/// A nonce must never be used twice with one key; callers make it of a counter that only grows.
package struct SealingKey: Sendable {
    package static let keyBytes = 32
    package static let nonceBytes = 24
    /// What sealing adds.
    package static let tagBytes = 16

    private let secret: SecretBytes

    /// Wraps a 32-byte secret.
    package init(_ secret: SecretBytes) {
        precondition(secret.count == Self.keyBytes, "a sealing key has \(Self.keyBytes) bytes, not \(secret.count)")
        self.secret = secret
    }

    /// The key that follows this one; nobody can compute backwards.
    package func next(label: [UInt8]) throws -> SealingKey {
        SealingKey(try KeyedHash.derive(from: secret, label: label))
    }

    /// Seals `buffer[range]` in place and writes the tag into the 16 bytes after it.
    ///
    /// The buffer must already be `tagBytes` longer than the range's end.
    package func seal(_ buffer: inout [UInt8], range: Range<Int>, nonce: [UInt8], authenticating header: [UInt8]) {
        precondition(nonce.count == Self.nonceBytes, "nonce of \(nonce.count) bytes")
        precondition(range.upperBound + Self.tagBytes <= buffer.count, "no room for the tag: \(range), \(buffer.count)")
        buffer.withUnsafeMutableBufferPointer { bytes in
            guard let start = bytes.baseAddress?.advanced(by: range.lowerBound) else { return }
            secret.withBytes { key in
                _ = crypto_aead_xchacha20poly1305_ietf_encrypt_detached(
                    start, start + range.count, nil, start, UInt64(range.count), header, UInt64(header.count), nil,
                    nonce,
                    key)
            }
        }
    }

    /// Opens `buffer[range]`, whose last 16 bytes are the tag, in place.
    ///
    /// - Returns: the plaintext's place in `buffer`; nil when the key, the header, the nonce or a byte is wrong.
    package func open(
        _ buffer: inout [UInt8], range: Range<Int>, nonce: [UInt8], authenticating header: [UInt8]
    ) -> Range<Int>? {
        guard nonce.count == Self.nonceBytes, range.count >= Self.tagBytes, range.upperBound <= buffer.count else {
            return nil
        }
        let length = range.count - Self.tagBytes
        let status = buffer.withUnsafeMutableBufferPointer { bytes -> Int32 in
            guard let start = bytes.baseAddress?.advanced(by: range.lowerBound) else { return -1 }
            return secret.withBytes { key in
                crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
                    start, nil, start, UInt64(length), start + length, header, UInt64(header.count), nonce, key)
            }
        }
        return status == 0 ? range.lowerBound..<range.lowerBound + length : nil
    }

    /// Seals `buffer[range]` in place with the nonce at `nonceAt` of the same buffer, and writes the tag behind it.
    package func seal(
        _ buffer: UnsafeMutableBufferPointer<UInt8>, range: Range<Int>, nonceAt: Int, authenticating header: [UInt8]
    ) {
        precondition(range.upperBound + Self.tagBytes <= buffer.count, "no room for the tag: \(range), \(buffer.count)")
        precondition(nonceAt + Self.nonceBytes <= range.lowerBound, "a nonce inside of what is sealed")
        guard let base = buffer.baseAddress else { return }
        let start = base + range.lowerBound
        secret.withBytes { key in
            _ = crypto_aead_xchacha20poly1305_ietf_encrypt_detached(
                start, start + range.count, nil, start, UInt64(range.count), header, UInt64(header.count), nil,
                base + nonceAt, key)
        }
    }

    /// Opens `buffer[range]`, whose last 16 bytes are the tag, in place with the nonce at `nonceAt` of the same buffer.
    ///
    /// - Returns: the plaintext's place in `buffer`; nil when the key, the header, the nonce or a byte is wrong, and
    ///   then the buffer is as it was.
    package func open(
        _ buffer: inout [UInt8], range: Range<Int>, nonceAt: Int, authenticating header: [UInt8]
    ) -> Range<Int>? {
        guard nonceAt + Self.nonceBytes <= range.lowerBound, range.count >= Self.tagBytes,
            range.upperBound <= buffer.count
        else { return nil }
        let length = range.count - Self.tagBytes
        let status = buffer.withUnsafeMutableBufferPointer { bytes -> Int32 in
            guard let base = bytes.baseAddress else { return -1 }
            let start = base + range.lowerBound
            return secret.withBytes { key in
                crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
                    start, nil, start, UInt64(length), start + length, header, UInt64(header.count), base + nonceAt,
                    key)
            }
        }
        return status == 0 ? range.lowerBound..<range.lowerBound + length : nil
    }
}
