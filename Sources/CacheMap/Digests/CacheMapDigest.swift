internal import ClusterModel

/// The owner's side of a cache-map digest: its cache keys as hashes, split into pages, with a log of changes.
///
/// `add` after the result is durable and `remove` before it is deleted, then `flush` and publish what it returns. Others
/// ask with `DigestRequest`; `answer` gives the deltas that they miss, or the pages that changed, or all pages.
package struct CacheMapDigest: Sendable {
    /// Deltas that are kept to answer a gap.
    static let logMax = 256

    /// Names this history of the digest; another epoch makes everything that others hold useless.
    package private(set) var epoch: UInt32
    /// Deltas since the epoch began.
    package private(set) var sequence: UInt32 = 0
    private let hashKey: MapHashKey
    private var shape: BloomShape
    private var sizeClass: Int
    /// Truncated hash → the full hashes under it.
    ///
    /// Nearly always one; a remove is announced with the last.
    private var hashes: [UInt64: [UInt64]] = [:]
    /// Disjoint parts that cover the hash space, sorted, with the sequence of the last change in each.
    private var parts: [(prefix: DigestPrefix, version: UInt32, count: Int)] = [(.whole, 0, 0)]
    private var log: [MapDelta] = []
    private var pendingAdds: Set<UInt64> = []
    private var pendingRemoves: Set<UInt64> = []

    /// Makes the digest of the keys that are held now.
    ///
    /// `epoch` is at least 1 and higher than in earlier runs of this node: Unix seconds at the start, say. False hits are
    /// kept below 0.1 / `clusterSize` per key and node.
    package init(epoch: UInt32, hashKey: MapHashKey, clusterSize: Int, keys: some Sequence<CacheKey>) {
        precondition(epoch > 0, "epoch 0 means that a digest is unknown")
        self.epoch = epoch
        self.hashKey = hashKey
        shape = BloomShape(clusterSize: clusterSize)
        sizeClass = Self.sizeClass(clusterSize)
        for key in keys { _ = insert(hashKey.hash(key)) }
        rebuild()
    }

    /// Number of keys.
    package var count: Int { parts.reduce(0) { $0 + $1.count } }

    package mutating func add(_ key: CacheKey) {
        let hash = hashKey.hash(key)
        let short = MapDelta.truncated(hash)
        let isNew = hashes[short] == nil
        guard insert(hash) else { return }
        count(hash, by: 1)
        if isNew {
            // Said even if the remove was never told: pages may have left in between.
            pendingRemoves.remove(short)
            pendingAdds.insert(short)
        }
        splitIfNeeded(around: hash)
    }

    package mutating func remove(_ key: CacheKey) {
        let hash = hashKey.hash(key)
        let short = MapDelta.truncated(hash)
        guard var same = hashes[short], let index = same.firstIndex(of: hash) else { return }
        same.remove(at: index)
        hashes[short] = same.isEmpty ? nil : same
        count(hash, by: -1)
        guard same.isEmpty else { return }
        pendingAdds.remove(short)
        pendingRemoves.insert(short)
    }

    /// The deltas for what changed since the last flush, in order; each fits one user record.
    package mutating func flush() -> [MapDelta] {
        var adds = pendingAdds.sorted()[...]
        var removes = pendingRemoves.sorted()[...]
        pendingAdds.removeAll()
        pendingRemoves.removeAll()
        guard removes.count * 2 <= count + removes.count || removes.count <= MapDelta.hashesMax else {
            // More than half is gone: new pages are shorter than the list of what is not there any more.
            beginEpoch()
            return []
        }
        var deltas: [MapDelta] = []
        while !adds.isEmpty || !removes.isEmpty {
            sequence += 1
            let some = adds.prefix(MapDelta.hashesMax)
            adds = adds.dropFirst(some.count)
            let gone = removes.prefix(MapDelta.hashesMax - some.count)
            removes = removes.dropFirst(gone.count)
            deltas.append(MapDelta(epoch: epoch, sequence: sequence, adds: Array(some), removes: Array(gone)))
            for hash in some + gone { touch(hash << (64 - MapDelta.hashBits)) }
        }
        log = (log + deltas).suffix(Self.logMax)
        return deltas
    }

    /// Follows the cluster's size; a new epoch begins when it at least doubled or halved.
    package mutating func setClusterSize(_ clusterSize: Int) {
        guard Self.sizeClass(clusterSize) != sizeClass else { return }
        sizeClass = Self.sizeClass(clusterSize)
        shape = BloomShape(clusterSize: clusterSize)
        beginEpoch()
    }

    /// All pages as of the last flush and the changes since.
    package func pages() -> [DigestPage] { pages(changedAfter: nil) }

    /// What brings the asker up to date, in order; each part fits one message of a stream.
    package func answer(_ request: DigestRequest) -> [DigestPages] {
        guard request.epoch == epoch, request.sequence <= sequence else { return answer(pages(), isWhole: true) }
        let missing = Int(sequence - request.sequence)
        if missing <= log.count {
            return [
                DigestPages(
                    epoch: epoch, sequence: sequence, isWhole: false, isFirst: true, isLast: true, pages: [],
                    deltas: log.suffix(missing))
            ]
        }
        return answer(pages(changedAfter: request.sequence), isWhole: false)
    }

    // MARK: Machinery

    private func answer(_ pages: [DigestPage], isWhole: Bool) -> [DigestPages] {
        var answers: [DigestPages] = []
        var rest = pages[...]
        repeat {
            let some = rest.prefix(DigestPages.pagesMax)
            rest = rest.dropFirst(some.count)
            answers.append(
                DigestPages(
                    epoch: epoch, sequence: sequence, isWhole: isWhole, isFirst: answers.isEmpty, isLast: rest.isEmpty,
                    pages: Array(some), deltas: []))
        } while !rest.isEmpty
        return answers
    }

    private func pages(changedAfter known: UInt32?) -> [DigestPage] {
        let sorted = hashes.values.joined().sorted()
        var start = 0
        return parts.compactMap { part in
            let slice = sorted[start..<start + part.count]
            start += part.count
            if let known, part.version <= known { return nil }
            return DigestPage(of: slice, prefix: part.prefix, version: part.version, shape: shape)
        }
    }

    private mutating func insert(_ hash: UInt64) -> Bool {
        let short = MapDelta.truncated(hash)
        guard var same = hashes[short] else {
            hashes[short] = [hash]
            return true
        }
        guard !same.contains(hash) else { return false }
        same.append(hash)
        hashes[short] = same
        return true
    }

    private mutating func beginEpoch() {
        epoch += 1
        sequence = 0
        log = []
        pendingAdds.removeAll()
        pendingRemoves.removeAll()
        rebuild()
    }

    private mutating func rebuild() {
        parts = []
        split(.whole, hashes: hashes.values.joined().sorted()[...], version: sequence)
    }

    /// Adds the parts of `prefix` that each fit a page.
    private mutating func split(_ prefix: DigestPrefix, hashes: ArraySlice<UInt64>, version: UInt32) {
        guard hashes.count > shape.capacity, prefix.depth < DigestPrefix.depthMax else {
            parts.append((prefix, version, hashes.count))
            return
        }
        let (low, high) = prefix.halves
        let middle = hashes.firstIndex { $0 >= high.bits } ?? hashes.endIndex
        split(low, hashes: hashes[..<middle], version: version)
        split(high, hashes: hashes[middle...], version: version)
    }

    private func part(of hash: UInt64) -> Int {
        var (low, high) = (0, parts.count - 1)
        while low < high {
            let middle = (low + high + 1) / 2
            if parts[middle].prefix.bits <= hash { low = middle } else { high = middle - 1 }
        }
        return low
    }

    private mutating func count(_ hash: UInt64, by change: Int) { parts[part(of: hash)].count += change }

    private mutating func touch(_ hash: UInt64) { parts[part(of: hash)].version = sequence }

    /// A part that outgrew its page becomes two, both as of the next delta, which announces the hash that did it.
    private mutating func splitIfNeeded(around hash: UInt64) {
        let index = part(of: hash)
        let full = parts[index]
        guard full.count > shape.capacity, full.prefix.depth < DigestPrefix.depthMax else { return }
        let inside = hashes.values.joined().filter { full.prefix.contains($0) }.sorted()
        let before = parts
        parts = []
        split(full.prefix, hashes: inside[...], version: sequence + 1)
        parts = Array(before[..<index]) + parts + Array(before[(index + 1)...])
    }

    private static func sizeClass(_ clusterSize: Int) -> Int {
        Int.bitWidth - max(1, clusterSize).leadingZeroBitCount
    }
}
