internal import ClusterModel

/// The cluster keys of a node: one seals, all open, so that keys can be replaced while the cluster runs.
///
/// A ring is a value that merges: whatever order members learn of changes in, equal knowledge gives equal rings. What is
/// shared only grows: a key's generation, the names of keys that were removed. From that follows which keys are in service
/// and which one seals: of those that nobody removed the one of the highest generation, among equals that of the highest
/// fingerprint, so that two halves of a cluster which both took a new key agree once they meet. A removed key opens until
/// its grace is over, for members that were away, and seals again only if nothing else is left, because halves removed each
/// other's keys.
///
/// The grace is a matter of each node: it counts from when this node hears of the removal, by its own clock, so that a
/// clock that is wrong elsewhere takes nobody's key away.
package struct KeyRing<Key: RingKey>: Sendable {
    /// Keys in service that an operator can have: two are needed to replace a key, more while that is interrupted.
    package static var keysMax: Int { 4 }
    /// Keys held at all: what halves of a cluster bring together, and those in their grace.
    package static var heldMax: Int { 16 }
    /// Names of removed keys, so that nobody brings them back.
    package static var removedMax: Int { 64 }
    /// Longest grace of a removed key, in seconds: a peer's word cannot keep one for ever.
    package static var graceSecondsMax: UInt64 { 7 * 86_400 }
    /// No generation reaches this, so that there is always a next one.
    package static var generationsEnd: UInt64 { .max >> 1 }

    /// A key and what it is for.
    package struct Entry: Sendable {
        package let key: Key
        package let fingerprint: KeyFingerprint
        /// Counts the changes of the sealing key up to the one that made this it; 0: has never sealed.
        package fileprivate(set) var generation: UInt64
        /// Unix seconds, by this node's clock, at which it stops to open; nil while it is in service.
        package fileprivate(set) var retiredUntil: UInt64?

        package var isRetired: Bool { retiredUntil != nil }

        package init(key: Key, generation: UInt64 = 0, retiredUntil: UInt64? = nil) {
            self.key = key
            fingerprint = key.fingerprint
            self.generation = generation
            self.retiredUntil = retiredUntil
        }

        /// Whether what is sealed with it is still taken at `now`, in Unix seconds.
        package func opens(at now: UInt64) -> Bool { retiredUntil.map { now < $0 } ?? true }

        fileprivate var rank: KeyRank { KeyRank(fingerprint: fingerprint, generation: generation) }
    }

    /// The key that seals comes first, then those in service, then those in their grace.
    package private(set) var entries: [Entry]
    /// Keys that were removed, in their grace or gone, the newest first.
    package private(set) var removed: [KeyRank]
    /// Secret of the cache-map hashes: made from the cluster's first key, and kept when keys change, so that digests
    /// stay comparable.
    package private(set) var mapKey: [UInt8]
    /// Whether the keys are secret; false for a node without a key, which must stay on loopback.
    package let isSecret: Bool

    /// A ring of at least one entry, each in service or retired and named in `removed`.
    package init(entries: [Entry], removed: [KeyRank] = [], mapKey: [UInt8], isSecret: Bool = true) {
        precondition(!entries.isEmpty, "a ring without a key")
        self.entries = entries
        self.removed = removed.sorted(by: >)
        self.mapKey = mapKey
        self.isSecret = isSecret
        sort()
    }

    // MARK: View

    /// Keys in service.
    package var installed: [Entry] { entries.filter { !$0.isRetired } }

    /// Equal at two members that agree on the keys: generations and removed keys count, each node's own graces do not.
    package var setHash: UInt32 {
        var hash: UInt64 = 0x6B65_7973
        func add(_ word: UInt64) { hash = SplitMix64.mix(hash ^ word) &+ word }
        for entry in installed {
            add(entry.fingerprint.rawValue)
            add(entry.generation)
        }
        add(.max)
        for rank in removed {
            add(rank.fingerprint.rawValue)
            add(rank.generation)
        }
        // Secret, and long enough not to be guessed from 32 bits of a hash.
        for byte in mapKey { add(UInt64(byte)) }
        return UInt32(truncatingIfNeeded: hash >> 32)
    }

    /// The key whose fingerprint begins with these hex digits.
    package func key(named prefix: String) throws(KeyRingError) -> KeyFingerprint {
        let matches = entries.map(\.fingerprint).filter { "\($0)".hasPrefix(prefix.lowercased()) }
        guard let first = matches.first, !prefix.isEmpty else { throw .unknown(prefix) }
        guard matches.count == 1 else { throw .ambiguous(prefix) }
        return first
    }

    package func isRemoved(_ key: KeyFingerprint) -> Bool { removed.contains { $0.fingerprint == key } }

    // MARK: Changes

    /// Adds a key that opens; it seals once it is used.
    package mutating func install(_ key: Key) throws(KeyRingError) {
        guard isSecret else { throw .noKey }
        let fingerprint = key.fingerprint
        guard !isRemoved(fingerprint) else { throw .retired(fingerprint) }
        guard !entries.contains(where: { $0.fingerprint == fingerprint }) else { return }
        guard installed.count < Self.keysMax else { throw .full(keysMax: Self.keysMax) }
        entries.append(Entry(key: key))
        sort()
    }

    /// Lets a key of the ring seal.
    package mutating func use(_ fingerprint: KeyFingerprint) throws(KeyRingError) {
        guard isSecret else { throw .noKey }
        guard let index = entries.firstIndex(where: { $0.fingerprint == fingerprint }) else {
            throw .unknown("\(fingerprint)")
        }
        guard !entries[index].isRetired else { throw .retired(fingerprint) }
        guard index > 0 else { return }
        entries[index].generation = min(highestGeneration + 1, Self.generationsEnd - 1)
        sort()
    }

    /// Takes a key out of service: it opens for `graceSeconds` more, for members that were away.
    package mutating func remove(
        _ fingerprint: KeyFingerprint, graceSeconds: UInt64, now: UInt64
    ) throws(KeyRingError) {
        guard isSecret else { throw .noKey }
        guard let index = entries.firstIndex(where: { $0.fingerprint == fingerprint }) else {
            throw .unknown("\(fingerprint)")
        }
        guard index > 0 else { throw .seals(fingerprint) }
        let until = Self.graceEnd(graceSeconds, now)
        entries[index].retiredUntil = min(entries[index].retiredUntil ?? until, until)
        note(entries[index].rank)
        settle(until)
        expire(at: now)
    }

    /// Drops keys whose grace is over; says whether there were any.
    @discardableResult
    package mutating func expire(at now: UInt64) -> Bool {
        let before = entries.count
        entries.removeAll { !$0.opens(at: now) }
        return entries.count < before
    }

    /// Takes over what another member's ring knows; says whether that changed anything.
    ///
    /// A key that turns out to be removed opens for `graceSeconds` more. A ring that would leave no key at all changes
    /// nothing.
    @discardableResult
    package mutating func merge(_ other: KeyRing, at now: UInt64, graceSeconds: UInt64) -> Bool {
        learn(other, at: now, graceSeconds: graceSeconds) == .changed
    }

    /// What another member's ring did to this one.
    enum Lesson {
        case changed, known
        /// It names so many removed keys that none would be left here: nothing of it was taken.
        case refused
    }

    /// `merge`, and why nothing changed.
    mutating func learn(_ other: KeyRing, at now: UInt64, graceSeconds: UInt64) -> Lesson {
        guard isSecret, other.isSecret else { return .known }
        let before = self
        // Who has changed keys more often belongs to the older cluster: its map key stays.
        let theirs = other.highestGeneration
        if theirs > highestGeneration || theirs == highestGeneration && other.mapKey.lexicographicallyPrecedes(mapKey) {
            mapKey = other.mapKey
        }
        let until = Self.graceEnd(graceSeconds, now)
        for entry in other.entries { take(entry, until: until, now: now) }
        for rank in other.removed { note(rank) }
        if entries.allSatisfy({ isRemoved($0.fingerprint) }) {
            // What the other one falls back on is gone here: it is needed again.
            for entry in other.installed where !entries.contains(where: { $0.fingerprint == entry.fingerprint }) {
                entries.append(entry)
            }
        }
        for entry in entries where isRemoved(entry.fingerprint) { note(entry.rank) }
        settle(until)
        expire(at: now)
        guard !entries.isEmpty else {
            self = before
            return .refused
        }
        return self == before ? .known : .changed
    }

    private mutating func take(_ entry: Entry, until: UInt64, now: UInt64) {
        if let index = entries.firstIndex(where: { $0.fingerprint == entry.fingerprint }) {
            entries[index].generation = max(entries[index].generation, entry.generation)
        } else if !isRemoved(entry.fingerprint), entry.opens(at: now) {
            entries.append(
                Entry(
                    key: entry.key, generation: entry.generation,
                    // Bounded by the other's word, so that a key is not handed on for ever.
                    retiredUntil: entry.retiredUntil.map { min($0, until) }))
        }
    }

    private mutating func note(_ rank: KeyRank) {
        if let index = removed.firstIndex(where: { $0.fingerprint == rank.fingerprint }) {
            removed[index].generation = max(removed[index].generation, rank.generation)
        } else {
            removed.append(rank)
        }
    }

    /// Derives from what is shared which keys are in service; a key that is no longer opens until `until`.
    private mutating func settle(_ until: UInt64) {
        removed.sort(by: >)
        for rank in removed.dropFirst(Self.removedMax) { entries.removeAll { $0.fingerprint == rank.fingerprint } }
        removed = Array(removed.prefix(Self.removedMax))
        let isServed = entries.contains { !isRemoved($0.fingerprint) }
        let last = isServed ? nil : entries.map(\.rank).max()?.fingerprint
        for index in entries.indices {
            let isRetired = isRemoved(entries[index].fingerprint) && entries[index].fingerprint != last
            entries[index].retiredUntil = isRetired ? entries[index].retiredUntil ?? until : nil
        }
        sort()
        if entries.count > Self.heldMax { entries.removeLast(entries.count - Self.heldMax) }
    }

    private var highestGeneration: UInt64 {
        max(entries.map(\.generation).max() ?? 0, removed.map(\.generation).max() ?? 0)
    }

    private static func graceEnd(_ graceSeconds: UInt64, _ now: UInt64) -> UInt64 {
        now &+ min(graceSeconds, graceSecondsMax)
    }

    private mutating func sort() {
        entries.sort { $0.isRetired == $1.isRetired ? $0.rank > $1.rank : $1.isRetired }
    }
}

extension KeyRing: Equatable {
    /// Graces count: two members that agree may differ in them.
    package static func == (left: KeyRing, right: KeyRing) -> Bool {
        left.agrees(with: right) && left.isSecret == right.isSecret
            && left.entries.elementsEqual(right.entries) {
                $0.fingerprint == $1.fingerprint && $0.generation == $1.generation && $0.retiredUntil == $1.retiredUntil
            }
    }

    /// Whether the same keys are in service, the same one seals, and the same ones were removed.
    package func agrees(with other: KeyRing) -> Bool {
        mapKey == other.mapKey && removed == other.removed
            && installed.elementsEqual(other.installed) {
                $0.fingerprint == $1.fingerprint && $0.generation == $1.generation
            }
    }
}

/// A key's place among those of its cluster: by generation, then by fingerprint.
package struct KeyRank: Hashable, Sendable, Comparable {
    package let fingerprint: KeyFingerprint
    package internal(set) var generation: UInt64

    package init(fingerprint: KeyFingerprint, generation: UInt64) {
        self.fingerprint = fingerprint
        self.generation = generation
    }

    package static func < (left: KeyRank, right: KeyRank) -> Bool {
        (left.generation, left.fingerprint) < (right.generation, right.fingerprint)
    }
}
