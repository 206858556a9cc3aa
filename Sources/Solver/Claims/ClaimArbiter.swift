package import CacheMap
package import ClusterModel
internal import OCI

/// Who asks for the right to execute a key: one claim of one node, alive as long as its stream.
package struct ClaimID: Hashable, Sendable, Comparable {
    package var number: UInt64

    package init(number: UInt64) { self.number = number }

    package static func < (left: ClaimID, right: ClaimID) -> Bool { left.number < right.number }
}

/// How the work on a claimed key ended.
package enum ClaimOutcome: Hashable, Sendable {
    case record(FoundRecord)
    /// The step failed by itself; it would fail for the others too.
    case failed(VertexFailure)
}

/// Grants the right to execute cache keys, one claim a key at a time: the arbiter's side of "once in the cluster".
///
/// Invariant: at any moment at most one live claim holds a key. A claim ends with its outcome, or with its stream when
/// the claimant died or was cancelled; then the next in line is granted. Outcomes are remembered for a while, so that a
/// claim that comes before the key's digest has spread is answered with the record.
package struct ClaimArbiter: Sendable {
    /// Finished keys that are remembered: at 100 keys a second a good ten minutes, some 20 MB.
    package static let finishedKeysMax = 65_536
    /// Claims that may wait for one key; beyond it, claimants are told to come again by the end of their stream.
    package static let waitersMax = 4_096

    package enum Effect: Hashable, Sendable {
        case grant(ClaimID)
        case answer(ClaimID, ClaimOutcome)
        /// The claim cannot be kept: end its stream.
        case refuse(ClaimID)
    }

    private struct Entry: Sendable {
        var holder: ClaimID
        var waiters: [ClaimID] = []
    }

    private var entries: [CacheKey: Entry] = [:]
    private var keys: [ClaimID: CacheKey] = [:]
    private var finished: [CacheKey: FoundRecord] = [:]
    private var finishedOrder: [CacheKey] = []
    private var finishedStart = 0

    package init() {}

    /// Keys that are held now.
    package var heldCount: Int { entries.count }

    /// A node asks for a key.
    ///
    /// `rejected` names a holder whose record could not be confirmed: the memory of it is dropped.
    package mutating func claim(_ key: CacheKey, by id: ClaimID, rejecting rejected: PeerID? = nil) -> [Effect] {
        if let rejected, let known = finished[key], known.result.holders.contains(rejected) { finished[key] = nil }
        if let record = finished[key] { return [.answer(id, .record(record))] }
        guard var entry = entries[key] else {
            entries[key] = Entry(holder: id)
            keys[id] = key
            return [.grant(id)]
        }
        guard entry.waiters.count < Self.waitersMax else { return [.refuse(id)] }
        entry.waiters.append(id)
        entries[key] = entry
        keys[id] = key
        return []
    }

    /// The holder of a key is done with it.
    ///
    /// Outcomes of anybody else are ignored.
    package mutating func finish(_ id: ClaimID, with outcome: ClaimOutcome) -> [Effect] {
        guard let key = keys[id], let entry = entries[key], entry.holder == id else { return [] }
        entries[key] = nil
        keys[id] = nil
        for waiter in entry.waiters { keys[waiter] = nil }
        if case .record(let record) = outcome { remember(record, for: key) }
        return entry.waiters.map { .answer($0, outcome) }
    }

    /// The claim's stream ended without an outcome.
    package mutating func release(_ id: ClaimID) -> [Effect] {
        guard let key = keys.removeValue(forKey: id), var entry = entries[key] else { return [] }
        guard entry.holder == id else {
            entry.waiters.removeAll { $0 == id }
            entries[key] = entry
            return []
        }
        guard !entry.waiters.isEmpty else {
            entries[key] = nil
            return []
        }
        entry.holder = entry.waiters.removeFirst()
        entries[key] = entry
        return [.grant(entry.holder)]
    }

    /// Forgets what only a lost node held.
    package mutating func nodeLost(_ node: PeerID) {
        for key in finished.keys.sorted() {
            finished[key]?.result.holders.removeAll { $0 == node }
            if finished[key]?.result.holders.isEmpty == true { finished[key] = nil }
        }
    }

    private mutating func remember(_ record: FoundRecord, for key: CacheKey) {
        if finished.updateValue(record, forKey: key) == nil { finishedOrder.append(key) }
        while finished.count > Self.finishedKeysMax, finishedStart < finishedOrder.count {
            finished[finishedOrder[finishedStart]] = nil
            finishedStart += 1
        }
        // Keys that were forgotten and came again stand in line twice.
        if finishedOrder.count > 4 * Self.finishedKeysMax {
            var seen: Set<CacheKey> = []
            let latest = finishedOrder[finishedStart...].reversed().filter {
                finished[$0] != nil && seen.insert($0).inserted
            }
            finishedOrder = latest.reversed()
            finishedStart = 0
        }
        if finishedStart > Self.finishedKeysMax {
            finishedOrder.removeFirst(finishedStart)
            finishedStart = 0
        }
    }
}
