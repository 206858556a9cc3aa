package import ClusterModel

/// The owner's side of a cache-map digest: the cache keys that it publishes, as hashes in pages, with a log of changes.
///
/// `add` after the result is durable and `remove` at least one protocol period before it is deleted; `flush` and publish
/// what it returns. Others ask with `DigestRequest`; `answer` gives the deltas that they miss, or the pages that changed,
/// or all pages. Two keys may share a short hash: the owner counts, so removal is exact.
package struct CacheMapDigest: Sendable {
    package struct Settings: Hashable, Sendable {
        /// Bytes of one page or delta: what fits a user record of gossip.
        package var pageBytes = 1_000
        /// Bytes of all pages: above it only the most valuable keys are published.
        package var budget = 64_000
        package var encoding = DigestPage.Encoding.smaller
        /// For measurements: this rate at every cluster size.
        package var fixedRate: FalseHitRate?

        package init() {}

        package static let pageBytesMin = 200
    }

    struct Entry: Sendable {
        var rank: Double
        var isPublished: Bool
    }

    /// Deltas that are kept to answer a gap, and for how long; beyond them pages are sent.
    package static let logMax = 1_024
    package static let logLifetime: Duration = .seconds(600)
    /// Deltas in one answer; where they would be longer than the pages, pages are sent.
    static let logBytesMax = 500_000
    /// Removals that go out as deltas however many keys are left.
    static let removesMin = 256
    /// When the budget is exceeded so much of it stays published, and below the other share more is published again.
    private static let keptPercent = 90
    private static let refillPercent = 70
    /// How far above the least that is published a held key has to rise by its use to be published too.
    ///
    /// Worth twice as much, or used a half-life later: keys that are used in turn, more than the budget pays for, do not
    /// take each other's place at every use.
    private static let gainMin = 1.0

    package private(set) var epoch: UInt32
    package private(set) var sequence: UInt32 = 0
    package private(set) var root: UInt64 = 0
    package private(set) var rate: FalseHitRate
    package let settings: Settings
    private let hashKey: MapHashKey
    /// By full hash.
    private(set) var entries: [UInt64: Entry] = [:]
    /// Published keys by short hash; nearly always one.
    private var published: [UInt32: UInt16] = [:]
    /// Short hashes that changed since the last flush, and whether they were announced then.
    private(set) var changed: [UInt32: Bool] = [:]
    private var announcedCount = 0
    /// Lowest rank that is published while not all is.
    private var floor: Double?
    private(set) var partition: DigestPartition
    var log: [(at: MonotonicInstant, delta: MapDelta)] = []
    var rendered: (sequence: UInt32, pages: [DigestPage])?

    /// Makes the digest of what is held now.
    ///
    /// `epoch` is higher than in earlier runs of this node: Unix seconds at the start, say. When the `last` run of this
    /// node published exactly the same, its history goes on instead and nobody has to fetch anything.
    package init(
        epoch: UInt32, hashKey: MapHashKey, clusterSize: Int, entries held: some Sequence<MapEntry>,
        settings: Settings = Settings(), last: SavedPosition? = nil
    ) {
        self.hashKey = hashKey
        self.settings = settings
        rate = settings.fixedRate ?? last?.rate ?? FalseHitRate(clusterSize: clusterSize)
        self.epoch = max(1, epoch)
        partition = DigestPartition(of: [], capacity: 1, version: 0)
        for entry in held {
            entries[hashKey.hash(entry.key)] = Entry(rank: entry.rank, isPublished: false)
        }
        publishMore()
        for short in published.keys { root ^= MapPosition.mix(short) }
        if let last {
            if last.position.root == root, last.position.epoch > 0, settings.fixedRate == nil {
                self.epoch = last.position.epoch
                sequence = last.position.sequence
            } else {
                self.epoch = max(self.epoch, last.position.epoch + 1)
            }
        }
        settle()
    }

    // MARK: View

    /// Keys that are held.
    package var count: Int { entries.count }
    /// Keys that are held, without those that the next flush announces: what the position stands for.
    package var announcedKeyCount: Int {
        entries.count - changed.count { short, wasAnnounced in !wasAnnounced && published[short] != nil }
    }
    /// Keys that are published.
    package var publishedCount: Int { published.values.reduce(0) { $0 + Int($1) } }
    package var isPartial: Bool { floor != nil }
    /// As of the last flush.
    package var position: MapPosition { MapPosition(epoch: epoch, sequence: sequence, root: root) }
    package var saved: SavedPosition { SavedPosition(position: position, rate: rate) }
    package var hasChanges: Bool { !changed.isEmpty }
    /// About as many bytes as a delta of the changes would take.
    package var changedBytes: Int { changed.count * 4 }

    // MARK: Changes

    package mutating func add(_ entry: MapEntry) {
        let hash = hashKey.hash(entry.key)
        let rank = entry.rank
        if let known = entries[hash] {
            entries[hash]?.rank = max(known.rank, rank)
            guard !known.isPublished else { return }
        } else {
            entries[hash] = Entry(rank: rank, isPublished: false)
        }
        if let floor, rank < floor { return }
        publish(hash)
        if published.count > keysMax { publishLess() }
    }

    /// A key that is held was used: it is worth more from now on; a key that is not held stays so.
    ///
    /// One that is not published is published when it gains enough by it, else with the next choice of the best.
    package mutating func use(_ entry: MapEntry) {
        let hash = hashKey.hash(entry.key)
        let rank = entry.rank
        guard let known = entries[hash], rank > known.rank else { return }
        entries[hash]?.rank = rank
        guard !known.isPublished, let floor, rank >= floor + Self.gainMin else { return }
        publish(hash)
        if published.count > keysMax { publishLess() }
    }

    package mutating func remove(_ key: CacheKey) {
        let hash = hashKey.hash(key)
        guard let entry = entries[hash] else { return }
        if entry.isPublished { retract(hash) }
        entries[hash] = nil
        if floor != nil, published.count * 100 < keysMax * Self.refillPercent { publishMore() }
    }

    /// Whether the node said that it holds `key`, or will with the next flush.
    package func isPublished(_ key: CacheKey) -> Bool { entries[hashKey.hash(key)]?.isPublished ?? false }

    /// The deltas for what changed since the last flush, in order; each fits a user record.
    ///
    /// None, and a new epoch, if most of the digest is gone: pages are shorter then. The same if the epoch has no
    /// sequences left.
    package mutating func flush(at now: MonotonicInstant) -> [MapDelta] {
        var adds: [UInt32] = []
        var removes: [UInt32] = []
        for (short, wasAnnounced) in changed {
            let isHeld = published[short] != nil
            if isHeld, !wasAnnounced { adds.append(short) }
            if !isHeld, wasAnnounced { removes.append(short) }
        }
        changed.removeAll(keepingCapacity: true)
        guard !adds.isEmpty || !removes.isEmpty else { return [] }
        adds.sort()
        removes.sort()
        // Each delta has a change, so there are no more of them than changes.
        let isOver = adds.count + removes.count >= Int(MapPosition.sequencesEnd - sequence)
        if isOver || removes.count > Self.removesMin && removes.count * 2 > announcedCount {
            for short in adds + removes { root ^= MapPosition.mix(short) }
            beginEpoch()
            return []
        }
        announcedCount += adds.count - removes.count
        let deltas = deltas(adds[...], removes[...])
        for delta in deltas {
            log.append((now, delta))
            partition.change(
                adds: delta.adds, removes: delta.removes, version: delta.sequence, all: { published.keys.sorted() })
        }
        log.removeFirst(max(0, log.count - Self.logMax))
        return deltas
    }

    private mutating func deltas(_ adds: ArraySlice<UInt32>, _ removes: ArraySlice<UInt32>) -> [MapDelta] {
        var (adds, removes) = (adds, removes)
        var deltas: [MapDelta] = []
        while !adds.isEmpty || !removes.isEmpty {
            let room = settings.pageBytes - DigestMessage.tagBytes - MapDelta.headerBytes
            let come = MapDelta.fitting(adds, bytes: room - 1)
            let go = MapDelta.fitting(removes, bytes: room - come.bytes)
            precondition(come.count + go.count > 0, "a page of \(settings.pageBytes) bytes takes no hash")
            let (some, gone) = (Array(adds.prefix(come.count)), Array(removes.prefix(go.count)))
            adds = adds.dropFirst(come.count)
            removes = removes.dropFirst(go.count)
            for short in some + gone { root ^= MapPosition.mix(short) }
            sequence += 1
            deltas.append(
                MapDelta(
                    epoch: epoch, sequence: sequence, root: UInt32(truncatingIfNeeded: root), isPartial: isPartial,
                    adds: some, removes: gone))
        }
        return deltas
    }

    /// Makes pages for another rate of false hits; a new epoch begins.
    ///
    /// Flush before.
    package mutating func setRate(_ rate: FalseHitRate) {
        guard rate != self.rate else { return }
        self.rate = rate
        if published.count > keysMax { publishLess() } else if floor != nil { publishMore() }
        for (short, wasAnnounced) in changed where wasAnnounced != (published[short] != nil) {
            root ^= MapPosition.mix(short)
        }
        beginEpoch()
    }

    private mutating func beginEpoch() {
        epoch += 1
        sequence = 0
        log = []
        settle()
    }

    /// Everything that is published counts as announced.
    private mutating func settle() {
        changed.removeAll()
        announcedCount = published.count
        rendered = nil
        partition = DigestPartition(
            of: published.keys.sorted(),
            capacity: DigestPage.capacity(bytes: settings.pageBytes, rate: rate, encoding: settings.encoding),
            version: sequence)
    }

    // MARK: Budget

    /// Keys that the budget pays for: a page's frame adds some 2 %.
    private var keysMax: Int {
        let perPage = DigestPage.capacity(bytes: settings.pageBytes, rate: rate, encoding: settings.encoding)
        return max(1, settings.budget * perPage / settings.pageBytes)
    }

    private mutating func publish(_ hash: UInt64) {
        let short = MapDelta.short(hash)
        entries[hash]?.isPublished = true
        if changed[short] == nil { changed[short] = published[short] != nil }
        published[short, default: 0] += 1
    }

    private mutating func retract(_ hash: UInt64) {
        let short = MapDelta.short(hash)
        entries[hash]?.isPublished = false
        if changed[short] == nil { changed[short] = published[short] != nil }
        let left = (published[short] ?? 1) - 1
        published[short] = left == 0 ? nil : left
    }

    private mutating func publishLess() { publishBest(keysMax * Self.keptPercent / 100) }

    private mutating func publishMore() {
        publishBest(entries.count <= keysMax ? entries.count : keysMax * Self.keptPercent / 100)
    }

    /// Publishes the `count` entries of highest rank and no other; equal ranks by hash, so that a restart agrees.
    private mutating func publishBest(_ count: Int) {
        guard entries.count > count else {
            for (hash, entry) in entries where !entry.isPublished { publish(hash) }
            floor = nil
            return
        }
        let order = entries.map { ($0.value.rank, $0.key) }.sorted { $0 > $1 }
        for (_, hash) in order.prefix(count) where entries[hash]?.isPublished == false { publish(hash) }
        for (_, hash) in order.dropFirst(count) where entries[hash]?.isPublished == true { retract(hash) }
        floor = order[max(0, count - 1)].0
    }
}
