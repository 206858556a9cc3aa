/// Ascending numbers as Golomb-Rice coded gaps (Rice 1979): unary quotient, `parameter` low bits.
///
/// A page of hashes so coded is a Bloom filter with one function, compressed (Mitzenmacher 2002): log2(1/ε) + 1.5 bits
/// per key.
enum RiceCoding {
    static let parameterMax = 31

    /// The parameter with the fewest bits for geometric gaps of mean `mean`, and those bits per number.
    static func best(mean: Double) -> (parameter: Int, bits: Double) {
        var best = (parameter: 0, bits: Double.infinity)
        for parameter in 0...parameterMax {
            let step = Double(UInt64(1) << UInt64(parameter))
            // A geometric gap with mean m has E[⌊gap / s⌋] = q / (1 − q) with q = e^(−s/m); one bit ends the unary part.
            let miss = Logarithms.exponential(-step / max(mean, 1e-9))
            let bits = Double(parameter) + 1 / (1 - miss)
            if bits < best.bits { best = (parameter, bits) }
        }
        return best
    }

    /// Codes strictly ascending numbers; the first as its distance from `base`.
    static func encode(_ values: some Sequence<UInt32>, base: UInt32, parameter: Int) -> [UInt8] {
        var writer = BitWriter(capacity: 1_200)
        var next = UInt64(base)
        for value in values {
            let gap = UInt64(value) - next
            writer.appendUnary(Int(gap >> UInt64(parameter)))
            if parameter > 0 { writer.append(UInt32(truncatingIfNeeded: gap), width: parameter) }
            next = UInt64(value) + 1
        }
        return writer.finished()
    }

    /// Reads `count` numbers in `base`..<`end`; nil unless the bytes hold exactly these.
    static func decode(_ bytes: [UInt8], count: Int, base: UInt32, end: UInt64, parameter: Int) -> [UInt32]? {
        // Each number takes at least its low bits and one more.
        guard (0...parameterMax).contains(parameter), count * (parameter + 1) <= bytes.count * 8 else { return nil }
        var reader = BitReader(bytes)
        var values: [UInt32] = []
        values.reserveCapacity(count)
        var next = UInt64(base)
        for _ in 0..<count {
            guard let quotient = reader.readUnary(), let low = reader.read(width: parameter) else { return nil }
            let value = next + UInt64(quotient) << UInt64(parameter) + UInt64(low)
            guard value < end, value <= UInt64(UInt32.max) else { return nil }
            values.append(UInt32(value))
            next = value + 1
        }
        return reader.isAtEnd ? values : nil
    }
}
