/// Decides pack by pack whether a holder compresses what it sends, and how hard.
///
/// Compressing pays while the link is what everything waits for. The levels are those at which zstd keeps up with the
/// link on a share of one core, as the machine also reads and seals, and has builds to run; what a compiler's files keep of
/// their size, and how fast one core compresses and decompresses them, in MB/s (zstd 1.5.4, two cores, idle):
///
/// | level | keeps | compresses | decompresses |
/// | --- | --- | --- | --- |
/// | 3 (another machine) | 0.34 | 220 | |
/// | 1 | 0.37 | 300 | 870 |
/// | -3 | 0.45 | 470 | 1,100 |
/// | -5 | 0.49 | 550 | 1,530 |
///
/// Bytes that do not shrink go as they are.
package struct CompressionChoice: Sendable {
    /// Bytes a second beyond which compressing takes longer than sending.
    package static let linkRateMax = 250_000_000.0
    /// Up to these rates of the link, in bytes a second, levels 3, 1 and -3 are worth their time.
    ///
    /// At 125 MB/s level 1 took 1.1 times as long as -3 and a little more processor time, with both ends on two cores.
    private static let thoroughRateMax = 20_000_000.0
    private static let fastRateMax = 60_000_000.0
    private static let fasterRateMax = 150_000_000.0
    /// A pack that keeps more of its size than this was not worth it.
    private static let ratioMax = 0.9
    /// After one that was not worth it so many go as they are before the next is tried: other files follow.
    private static let skippedPacks = 8
    /// Buffers of the link take the first bytes at once, so that the rate is known after this many only.
    private static let measuredBytesMin = 4 << 20

    /// Rates of which the middle one counts: a burst that a shaper let pass, or a moment without a processor, is one.
    private static let samplesMax = 5
    /// After so many packs without a sample nothing is known any more.
    private static let packsWithoutSampleMax = 16

    private var skipped = 0
    private var samples: [Double] = []
    private var packsWithoutSample = 0
    private var bytes = 0
    private var seconds = 0.0

    package init() {}

    /// Bytes a second of the link; nil while that is not known.
    private var rate: Double? { samples.isEmpty ? nil : samples.sorted()[samples.count / 2] }

    /// The zstd level to try for the next pack; nil for none.
    package mutating func nextLevel() -> Int32? {
        if let rate, rate > Self.linkRateMax { return nil }
        guard skipped == 0 else {
            skipped -= 1
            return nil
        }
        switch rate {
        case .some(...Self.thoroughRateMax): return 3
        case nil, .some(...Self.fastRateMax): return 1
        case .some(...Self.fasterRateMax): return -3
        default: return -5
        }
    }

    /// What came of compressing a pack; returns whether the compressed form is to be sent.
    package mutating func compressed(from plain: Int, to encoded: Int) -> Bool {
        guard Double(encoded) > Double(plain) * Self.ratioMax else { return true }
        skipped = Self.skippedPacks
        return false
    }

    /// What the link itself is able to carry, in bytes a second, as the transport measures it.
    ///
    /// Tells a slow link from a slow reader, which is no reason to compress.
    package mutating func measured(linkRate latest: Double, isLowerBound: Bool = false) {
        let isKnownAsSlow = (rate ?? .infinity) <= Self.linkRateMax
        if isLowerBound, isKnownAsSlow || latest <= Self.linkRateMax {
            // A few small messages say nothing of how fast the link is, unless they were fast; and where packs are
            // compressed there are pauses, after which a shaper lets a burst pass.
            packsWithoutSample += 1
            if packsWithoutSample > Self.packsWithoutSampleMax { samples = [] }
            return
        }
        packsWithoutSample = 0
        samples = samples.suffix(Self.samplesMax - 1) + [latest]
    }

    /// How long so many bytes took, waiting included: for streams whose transport does not measure.
    package mutating func sent(_ count: Int, seconds duration: Double) {
        bytes += count
        seconds += duration
        guard bytes >= Self.measuredBytesMin else { return }
        measured(linkRate: Double(bytes) / max(1e-6, seconds))
        (bytes, seconds) = (0, 0)
    }
}
