/// The promised rate of false hits, 1 in `oneIn` per lookup and node: 0.1 / N follows the cluster's size.
///
/// N is taken as a power of two that is not below the cluster's size, so that the promise is always kept, and goes down
/// only when the cluster is a quarter of it: a cluster that breathes around a power of two does not flap.
package struct FalseHitRate: Hashable, Sendable {
    /// Lookups per false hit.
    package private(set) var oneIn: Int

    /// A cluster of so many nodes meets at most 0.1 false holders per lookup.
    static let lookupsPerNode = 10
    /// The largest membership; beyond it pages would hold too few keys.
    static let clusterSizeMax = 65_536
    /// Small clusters start with room to grow: a bit per key for every doubling that needs no new pages.
    static let clusterSizeMin = 16
    static let oneInMax = lookupsPerNode * clusterSizeMax
    /// The rate falls when this many times fewer nodes than it was made for are left.
    static let shrinkFactor = 4

    package init(clusterSize: Int) { oneIn = Self.lookupsPerNode * Self.powerOfTwo(clusterSize) }

    /// A fixed rate, for measurements: 2...2^20.
    package init(oneIn: Int) { self.oneIn = min(max(2, oneIn), Self.oneInMax) }

    /// The rate that a cluster of that size needs now; itself while it still fits.
    package func following(clusterSize: Int) -> FalseHitRate {
        let made = oneIn / Self.lookupsPerNode
        let fits = clusterSize <= made && max(clusterSize, Self.clusterSizeMin) * Self.shrinkFactor > made
        return fits ? self : FalseHitRate(clusterSize: clusterSize)
    }

    package var rate: Double { 1 / Double(oneIn) }

    private static func powerOfTwo(_ clusterSize: Int) -> Int {
        let wanted = min(max(clusterSizeMin, clusterSize), clusterSizeMax)
        return 1 << (Int.bitWidth - (wanted - 1).leadingZeroBitCount)
    }
}
