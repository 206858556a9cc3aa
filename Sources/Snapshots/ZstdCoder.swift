internal import CZstd
internal import Synchronization

/// Compresses packs, one at a time.
final class ZstdCoder: Sendable {
    private struct Context: ~Copyable {
        let raw: OpaquePointer?
        deinit { ZSTD_freeCCtx(raw) }
    }

    private let context: Mutex<Context>

    init() { context = Mutex(Context(raw: ZSTD_createCCtx())) }

    /// One frame of `plain`; nil when it would not be shorter.
    func compress(_ plain: [UInt8], level: Int32) -> [UInt8]? {
        guard plain.count > 64 else { return nil }
        let capacity = plain.count - 1
        let result = context.withLock { context -> [UInt8]? in
            guard let raw = context.raw else { return nil }
            var failed = false
            let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
                let size = plain.withUnsafeBytes {
                    ZSTD_compressCCtx(raw, buffer.baseAddress, capacity, $0.baseAddress, $0.count, level)
                }
                failed = ZSTD_isError(size) != 0
                count = failed ? 0 : size
            }
            return failed ? nil : bytes
        }
        return result
    }

    /// The `count` bytes that one frame holds; nil when it is damaged or holds another number of bytes.
    ///
    /// Whatever the frame says, no more than `count` bytes are taken.
    static func decompress(_ encoded: ArraySlice<UInt8>, count: Int) -> [UInt8]? {
        var size = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            size = encoded.withUnsafeBytes { ZSTD_decompress(buffer.baseAddress, count, $0.baseAddress, $0.count) }
            filled = ZSTD_isError(size) != 0 ? 0 : size
        }
        return bytes.count == count ? bytes : nil
    }
}
