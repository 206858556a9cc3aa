/// How large filters are for a rate of false hits.
struct BloomShape: Hashable, Sendable {
    let functions: UInt8
    /// Filter bits per key, in hundredths.
    private let centibits: Int
    /// Keys per page.
    let capacity: Int

    /// ε = 0.1 / N is kept by rounding up to a power of two: ε = 2^−k with k = ⌈log2(10 N)⌉ and k functions, for which
    /// a Bloom filter needs k / ln 2 bits per key; 2 % more cover the filter's finite size.
    init(clusterSize: Int) {
        let wanted = max(1, clusterSize) * 10
        let exponent = Int.bitWidth - (wanted - 1).leadingZeroBitCount
        functions = UInt8(min(Int(DigestPage.functionsMax), exponent))
        centibits = Int(functions) * 14_427 / 98
        capacity = DigestPage.filterBytesMax * 8 * 100 / centibits
    }

    func filterBytes(for keys: Int) -> Int {
        keys == 0 ? 0 : min(DigestPage.filterBytesMax, max(8, (keys * centibits / 100 + 7) / 8))
    }
}
