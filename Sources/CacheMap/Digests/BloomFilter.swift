/// A Bloom filter over hashes; `bits` has 8 places a byte, lowest first.
struct BloomFilter: Hashable, Sendable {
    static let functionsMax = 24

    /// Functions per hash, 1...24.
    let functions: Int
    let bits: [UInt8]

    init(functions: Int, bits: [UInt8]) {
        self.functions = functions
        self.bits = bits
    }

    /// The smallest filter that keeps `rate` for these hashes.
    init(of hashes: some Collection<UInt64>, rate: FalseHitRate) {
        functions = Self.functions(for: rate)
        var bits = [UInt8](repeating: 0, count: Self.byteCount(keys: hashes.count, rate: rate))
        for hash in hashes {
            var probe = BloomProbe(hash: hash, bits: bits.count * 8)
            for _ in 0..<functions {
                let bit = probe.next()
                bits[bit >> 3] |= 1 << UInt8(bit & 7)
            }
        }
        self.bits = bits
    }

    func mayContain(_ hash: UInt64) -> Bool {
        guard !bits.isEmpty else { return false }
        var probe = BloomProbe(hash: hash, bits: bits.count * 8)
        for _ in 0..<functions {
            let bit = probe.next()
            if bits[bit >> 3] & (1 << UInt8(bit & 7)) == 0 { return false }
        }
        return true
    }

    /// k = log2(1/ε) functions are best.
    static func functions(for rate: FalseHitRate) -> Int {
        min(functionsMax, max(1, Int(Logarithms.binary(Double(rate.oneIn)).rounded())))
    }

    /// From (1 − e^(−kn/m))^k = ε: m = −kn / ln(1 − ε^(1/k)), and a percent more, because a filter as small as a page
    /// is fuller than its mean half of the time.
    static func byteCount(keys: Int, rate: FalseHitRate) -> Int {
        guard keys > 0 else { return 0 }
        let k = Double(functions(for: rate))
        let root = Logarithms.exponential(-Logarithms.natural(Double(rate.oneIn)) / k)
        let bits = -k * Double(keys) / Logarithms.natural(1 - root)
        return Int((bits * 1.01 / 8).rounded(.up))
    }
}
