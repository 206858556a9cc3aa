internal import CSodium

/// Secret bytes in libsodium's guarded memory: not swapped, not in core dumps, read-only, wiped when released.
///
/// Shared by reference, so that a key exists once however many ciphers use it.
// @unchecked: `memory` is filled before `init` returns and never written again, so any thread may read it.
package final class SecretBytes: @unchecked Sendable {
    private let memory: UnsafeMutableRawPointer
    /// Number of bytes.
    package let count: Int

    /// Guards `count` bytes that `fill` writes.
    package init(count: Int, filledBy fill: (UnsafeMutablePointer<UInt8>) throws -> Void) throws {
        try SodiumLibrary.start()
        guard let fresh = sodium_malloc(count) else { throw SodiumError.unavailable(call: "sodium_malloc") }
        do {
            try fill(fresh.assumingMemoryBound(to: UInt8.self))
        } catch {
            sodium_free(fresh)
            throw error
        }
        sodium_mprotect_readonly(fresh)
        memory = fresh
        self.count = count
    }

    deinit { sodium_free(memory) }

    /// New random bytes.
    package static func random(count: Int) throws -> SecretBytes {
        try SecretBytes(count: count) { randombytes_buf($0, count) }
    }

    /// Lends the bytes for the time of `body`.
    package func withBytes<Result>(_ body: (UnsafePointer<UInt8>) throws -> Result) rethrows -> Result {
        try body(UnsafePointer(memory.assumingMemoryBound(to: UInt8.self)))
    }
}

/// Start of libsodium, once a process.
enum SodiumLibrary {
    private static let status = sodium_init()

    static func start() throws(SodiumError) {
        guard status >= 0 else { throw .unavailable(call: "sodium_init") }
    }
}
