internal import ClusterModel

/// How an owner's hash space is split into pages: disjoint parts that cover it, in order.
struct DigestPartition: Sendable {
    struct Part: Hashable, Sendable {
        var prefix: DigestPrefix
        /// The owner's sequence at the last change.
        var version: UInt32
        /// Short hashes in the part.
        var count: Int
    }

    /// Two neighbours become one page when they fill this share of it.
    private static let mergePercent = 60

    private(set) var parts: [Part]
    private let capacity: Int

    /// Splits `hashes`, ascending, into parts of at most `capacity`.
    init(of hashes: [UInt32], capacity: Int, version: UInt32) {
        self.capacity = capacity
        parts = []
        split(.whole, hashes[...], version: version, into: &parts)
    }

    /// Counts changes in the parts they fall into, then splits and merges; `all` gives all hashes, ascending.
    mutating func change(adds: [UInt32], removes: [UInt32], version: UInt32, all: () -> [UInt32]) {
        for (list, step) in [(adds, 1), (removes, -1)] {
            for hash in list {
                let place = place(of: hash)
                parts[place].count += step
                parts[place].version = version
            }
        }
        if parts.contains(where: { $0.count > capacity && $0.prefix.depth < DigestPrefix.depthMax }) {
            splitFull(all(), version: version)
        }
        if !removes.isEmpty { merge(version: version) }
    }

    private func place(of short: UInt32) -> Int {
        let hash = UInt64(short) << 32
        var (low, high) = (0, parts.count - 1)
        while low < high {
            let middle = (low + high + 1) / 2
            if parts[middle].prefix.bits <= hash { low = middle } else { high = middle - 1 }
        }
        return low
    }

    private mutating func splitFull(_ all: [UInt32], version: UInt32) {
        var fresh: [Part] = []
        for part in parts {
            guard part.count > capacity else {
                fresh.append(part)
                continue
            }
            split(part.prefix, Self.slice(all, part.prefix), version: version, into: &fresh)
        }
        parts = fresh
    }

    private func split(_ prefix: DigestPrefix, _ hashes: ArraySlice<UInt32>, version: UInt32, into parts: inout [Part])
    {
        guard hashes.count > capacity, prefix.depth < DigestPrefix.depthMax else {
            parts.append(Part(prefix: prefix, version: version, count: hashes.count))
            return
        }
        let (low, high) = prefix.halves
        let middle = Self.firstIndex(hashes, atLeast: high.bits)
        split(low, hashes[..<middle], version: version, into: &parts)
        split(high, hashes[middle...], version: version, into: &parts)
    }

    private mutating func merge(version: UInt32) {
        var merged: [Part] = []
        for part in parts {
            merged.append(part)
            while merged.count > 1, let parent = merged[merged.count - 1].prefix.parent,
                merged[merged.count - 2].prefix == parent.halves.0, merged[merged.count - 1].prefix == parent.halves.1,
                (merged[merged.count - 2].count + merged[merged.count - 1].count) * 100 <= capacity * Self.mergePercent
            {
                let right = merged.removeLast()
                let left = merged.removeLast()
                merged.append(Part(prefix: parent, version: version, count: left.count + right.count))
            }
        }
        parts = merged
    }

    private static func slice(_ all: [UInt32], _ prefix: DigestPrefix) -> ArraySlice<UInt32> {
        let start = firstIndex(all[...], atLeast: prefix.bits)
        guard prefix.last < .max else { return all[start...] }
        return all[start..<firstIndex(all[...], atLeast: prefix.last + 1)]
    }

    /// Index of the first short hash that does not begin below `bits`.
    private static func firstIndex(_ hashes: ArraySlice<UInt32>, atLeast bits: UInt64) -> Int {
        var (low, high) = (hashes.startIndex, hashes.endIndex)
        while low < high {
            let middle = (low + high) / 2
            if UInt64(hashes[middle]) << 32 < bits { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
