internal import CSodium

/// BLAKE2b, with or without a key.
package enum KeyedHash {
    /// Fewest and most bytes of a hash.
    package static let byteCounts = 16...64

    /// Hash of `message` under `key`, `count` bytes long.
    package static func hash(_ message: [UInt8], key: SecretBytes, count: Int = 32) -> [UInt8] {
        precondition(byteCounts.contains(count), "BLAKE2b gives \(byteCounts) bytes, not \(count)")
        var hash = [UInt8](repeating: 0, count: count)
        key.withBytes { _ = crypto_generichash(&hash, count, message, UInt64(message.count), $0, key.count) }
        return hash
    }

    /// Hash of `message` without a key.
    package static func hash(_ message: [UInt8], count: Int = 32) -> [UInt8] {
        precondition(byteCounts.contains(count), "BLAKE2b gives \(byteCounts) bytes, not \(count)")
        var hash = [UInt8](repeating: 0, count: count)
        crypto_generichash(&hash, count, message, UInt64(message.count), nil, 0)
        return hash
    }

    /// A 32-byte secret derived from `key` for the purpose that `label` names.
    package static func derive(from key: SecretBytes, label: [UInt8]) throws -> SecretBytes {
        try SecretBytes(count: 32) { target in
            key.withBytes {
                _ = crypto_generichash(target, 32, label, UInt64(label.count), $0, key.count)
            }
        }
    }

    /// Whether two hashes are equal, in a time that does not depend on where they differ.
    package static func matches(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count && sodium_memcmp(left, right, left.count) == 0
    }
}
