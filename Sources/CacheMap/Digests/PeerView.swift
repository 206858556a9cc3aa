internal import ClusterModel

/// What this node knows of one peer's digest: pages, and the changes since.
struct PeerView: Sendable {
    /// Deltas beyond a gap that are kept for later.
    static let waitingMax = 64
    /// Changes beyond the pages that are kept: their own false hits stay far below the pages'.
    static let changesMax = 16_384
    /// Pages of one peer, encoded about 4 MB: bounds what it can make this node keep.
    static let pagesMax = 4_096

    private(set) var position: MapPosition
    private(set) var rate: FalseHitRate
    private(set) var isPartial = false
    /// The owner's present boot has said that this is its digest.
    var isConfirmed = true
    var isLive = true
    /// Counts the owners that went down, up to this one; 0 before it did.
    var downOrder: UInt64 = 0
    private(set) var pages: PageTable
    /// Short hashes that came (true) or went since the pages.
    private(set) var changes: [UInt32: Bool] = [:]
    private var waiting: [UInt32: MapDelta] = [:]

    /// Of a digest that was empty when its epoch began.
    init(epoch: UInt32) {
        position = MapPosition(epoch: epoch, sequence: 0, root: 0)
        rate = FalseHitRate(clusterSize: 1)
        pages = PageTable()
    }

    /// Of a whole answer; nil unless its pages cover the hash space once.
    init?(_ pages: [DigestPage], _ answer: DigestPages) {
        guard let table = PageTable(pages) else { return nil }
        position = answer.position
        rate = answer.rate
        isPartial = answer.isPartial
        self.pages = table
    }

    var isUsable: Bool { isLive && isConfirmed }
    var request: DigestRequest { DigestRequest(epoch: position.epoch, sequence: position.sequence) }
    var hasGap: Bool { !waiting.isEmpty }

    func mayHold(_ hash: UInt64) -> Bool {
        if !changes.isEmpty, let came = changes[MapDelta.short(hash)] { return came }
        return pages.mayContain(hash)
    }

    enum Step { case applied, known, gap, damaged, full }

    /// Takes a delta of the view's own epoch.
    mutating func apply(_ delta: MapDelta) -> Step {
        guard delta.sequence > position.sequence else { return .known }
        guard delta.sequence == position.sequence + 1 else {
            if waiting.count < Self.waitingMax { waiting[delta.sequence] = delta }
            return .gap
        }
        guard advance(by: delta) else { return .damaged }
        while let next = waiting.removeValue(forKey: position.sequence + 1) {
            guard advance(by: next) else { return .damaged }
        }
        guard changes.count <= Self.changesMax else { return .full }
        let sequence = position.sequence
        waiting = waiting.filter { $0.key > sequence }
        return waiting.isEmpty ? .applied : .gap
    }

    /// False when the root afterwards is not the owner's: something was lost or came twice.
    private mutating func advance(by delta: MapDelta) -> Bool {
        for short in delta.adds {
            changes[short] = true
            position.root ^= MapPosition.mix(short)
        }
        for short in delta.removes {
            changes[short] = false
            position.root ^= MapPosition.mix(short)
        }
        position.sequence = delta.sequence
        isPartial = delta.isPartial
        return UInt32(truncatingIfNeeded: position.root) == delta.root
    }

    /// Puts changed pages in the place of those they overlap.
    ///
    /// False unless the result covers every hash once, with no more pages than a peer may have.
    mutating func replace(_ fresh: [DigestPage], _ answer: DigestPages) -> Bool {
        guard let merged = pages.replacing(fresh), merged.pages.count <= Self.pagesMax else { return false }
        let replaced = fresh.map(\.prefix).sorted { $0.bits < $1.bits }
        pages = merged
        changes = changes.filter { !Self.covers(replaced, UInt64($0.key) << 32) }
        position = answer.position
        rate = answer.rate
        isPartial = answer.isPartial
        let sequence = position.sequence
        waiting = waiting.filter { $0.key > sequence }
        return true
    }

    private static func covers(_ prefixes: [DigestPrefix], _ hash: UInt64) -> Bool {
        var (low, high) = (0, prefixes.count)
        while low < high {
            let middle = (low + high) / 2
            if prefixes[middle].bits <= hash { low = middle + 1 } else { high = middle }
        }
        return low > 0 && prefixes[low - 1].contains(hash)
    }
}
