internal import CZstd
internal import Synchronization

/// Compresses packs, one at a time.
///
/// The memory that they are read and compressed in is kept, up to two packs' lengths: fresh pages for each pack took a sixth
/// of a holder's processor time.
// @unchecked: context and memory are touched by who has the turn only, and not after it.
final class ZstdCoder: @unchecked Sendable {
    private let turn = Mutex(())
    private let context = ZSTD_createCCtx()
    private var plain = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var encoded = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    deinit {
        ZSTD_freeCCtx(context)
        plain.deallocate()
        encoded.deallocate()
    }

    private func reserve(_ count: Int) {
        guard plain.count < count else { return }
        plain.deallocate()
        encoded.deallocate()
        plain = .allocate(byteCount: count, alignment: 64)
        encoded = .allocate(byteCount: count, alignment: 64)
    }

    /// Lets `fill` write `count` bytes and shows them to `use`, with one frame of them unless that would not be shorter.
    ///
    /// With a level of nil they are not compressed. What is shown is there until `use` returns.
    func encode<Result: Sendable>(
        _ count: Int, level: Int32?, fill: (UnsafeMutableRawBufferPointer) throws -> Void,
        use: (_ plain: UnsafeRawBufferPointer, _ frame: UnsafeRawBufferPointer?) throws -> Result
    ) throws -> Result {
        try turn.withLock { _ in
            reserve(count)
            let plain = UnsafeMutableRawBufferPointer(rebasing: plain[..<count])
            try fill(plain)
            guard let level, count > Self.bytesMin, let context else {
                return try use(UnsafeRawBufferPointer(plain), nil)
            }
            let size = ZSTD_compressCCtx(context, encoded.baseAddress, count - 1, plain.baseAddress, count, level)
            let isShorter = ZSTD_isError(size) == 0
            let frame = isShorter ? UnsafeRawBufferPointer(rebasing: encoded[..<size]) : nil
            return try use(UnsafeRawBufferPointer(plain), frame)
        }
    }

    /// Fewer bytes than this do not get shorter.
    private static let bytesMin = 64

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
