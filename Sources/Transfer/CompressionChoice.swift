/// Decides pack by pack whether a holder compresses what it sends.
///
/// zstd at level 1 gives 370 MB/s a core on a compiler's files and saves two thirds; a link faster than
/// `linkRateMax` is better off without, as are bytes that do not shrink.
package struct CompressionChoice: Sendable {
    /// Bytes a second beyond which compressing takes longer than sending, on a machine that also seals.
    package static let linkRateMax = 250_000_000.0
    /// A pack that keeps more of its size than this was not worth it.
    private static let ratioMax = 0.9
    /// After one that was not worth it so many go as they are before the next is tried: other files follow.
    private static let skippedPacks = 8
    /// Buffers of the link take the first bytes at once, so that the rate is known after this many only.
    private static let measuredBytesMin = 4 << 20

    private var skipped = 0
    private var rate: Double?
    private var bytes = 0
    private var seconds = 0.0

    package init() {}

    /// Whether to try the next pack.
    package mutating func isWorthTrying() -> Bool {
        if let rate, rate > Self.linkRateMax { return false }
        guard skipped > 0 else { return true }
        skipped -= 1
        return false
    }

    /// What came of compressing a pack; returns whether the compressed form is to be sent.
    package mutating func compressed(from plain: Int, to encoded: Int) -> Bool {
        guard Double(encoded) > Double(plain) * Self.ratioMax else { return true }
        skipped = Self.skippedPacks
        return false
    }

    /// How long the link took for so many bytes, waiting included.
    package mutating func sent(_ count: Int, seconds duration: Double) {
        bytes += count
        seconds += duration
        guard bytes >= Self.measuredBytesMin else { return }
        let latest = Double(bytes) / max(1e-6, seconds)
        rate = rate.map { $0 * 0.5 + latest * 0.5 } ?? latest
        (bytes, seconds) = (0, 0)
    }
}
