internal import UVLoop

/// Blocks of one size that are used again, so that bulk does not fault in fresh memory all the time.
///
/// Lives on the loop's thread.
final class BlockPool {
    private let blockBytes: Int
    private let keptMax: Int
    private var free: [ByteBlock] = []

    init(blockBytes: Int = WireLimits.blockBytes, keptMax: Int = WireLimits.keptBlocksMax) {
        self.blockBytes = blockBytes
        self.keptMax = keptMax
    }

    func take() -> ByteBlock { free.popLast() ?? ByteBlock(capacity: blockBytes) }

    func give(_ block: ByteBlock) {
        guard free.count < keptMax else { return }
        free.append(block)
    }
}
