import ClusterModel
import Testing

@testable import CacheMap

/// How a hash space is cut into pages: to the hash.
struct PartitionTests {
    /// Short hashes in the half, or the quarter, that the top bits name.
    private func shorts(_ top: UInt32, _ bits: UInt32, _ count: UInt32, from first: UInt32 = 0) -> [UInt32] {
        (first..<first + count).map { top << (32 - bits) | $0 }
    }

    private func counts(_ partition: DigestPartition) -> [Int] { partition.parts.map(\.count) }
    private func versions(_ partition: DigestPartition) -> [UInt32] { partition.parts.map(\.version) }

    @Test func `a part holds its capacity and is split with one more, at its middle`() {
        let (low, high) = (shorts(0, 1, 2), shorts(1, 1, 2))
        let full = DigestPartition(of: low + high, capacity: 4, version: 7)
        #expect(counts(full) == [4] && versions(full) == [7])
        let more = DigestPartition(of: low + high + shorts(1, 1, 1, from: 9), capacity: 4, version: 7)
        #expect(counts(more) == [2, 3] && versions(more) == [7, 7])
        var grown = DigestPartition(of: low, capacity: 4, version: 1)
        grown.change(adds: high, removes: [], version: 2) { low + high }
        #expect(counts(grown) == [4] && versions(grown) == [2])
        let last = shorts(1, 1, 1, from: 9)
        grown.change(adds: last, removes: [], version: 3) { low + high + last }
        #expect(counts(grown) == [2, 3] && versions(grown) == [3, 3])
        // The hash at the middle is in the upper half, the one before it in the lower.
        let edge = DigestPartition(of: [0x7FFF_FFFF, 0x8000_0000], capacity: 1, version: 0)
        #expect(counts(edge) == [1, 1])
        var placed = edge
        placed.change(adds: [0x8000_0000], removes: [], version: 5) { [0x7FFF_FFFF, 0x8000_0000, 0x8000_0000] }
        #expect(placed.parts[0].version == 0 && placed.parts.dropFirst().allSatisfy { $0.version == 5 })
    }

    @Test func `a change raises the version of its own part only, a full one that is not split keeps its own`() {
        let (low, high) = (shorts(0, 1, 4), shorts(1, 1, 4))
        var partition = DigestPartition(of: low + high, capacity: 4, version: 1)
        #expect(counts(partition) == [4, 4])
        let extra = shorts(1, 1, 1, from: 1 << 30)
        partition.change(adds: extra, removes: [], version: 2) { low + high + extra }
        #expect(counts(partition) == [4, 4, 1] && versions(partition) == [1, 2, 2])
        // What went makes room for what comes.
        partition.change(adds: [], removes: [low[0]], version: 3) { Array(low.dropFirst()) + high + extra }
        #expect(counts(partition) == [3, 4, 1] && versions(partition) == [3, 2, 2])
        partition.change(adds: [low[0]], removes: [], version: 4) { low + high + extra }
        #expect(counts(partition) == [4, 4, 1] && versions(partition) == [4, 2, 2])
    }

    @Test func `two halves become one page when they fill six tenths of it`() {
        let (low, high) = (shorts(0, 1, 6), shorts(1, 1, 6))
        var partition = DigestPartition(of: low + high, capacity: 10, version: 1)
        #expect(counts(partition) == [6, 6])
        let (lowGone, highGone) = (Array(low.prefix(3)), Array(high.prefix(2)))
        partition.change(adds: [], removes: lowGone + highGone, version: 2) {
            Array(low.dropFirst(3)) + high.dropFirst(2)
        }
        #expect(counts(partition) == [3, 4] && versions(partition) == [2, 2])
        partition.change(adds: [], removes: [high[2]], version: 3) { Array(low.dropFirst(3)) + high.dropFirst(3) }
        #expect(counts(partition) == [6] && versions(partition) == [3])
        #expect(partition.parts[0].prefix == .whole)
    }
}
