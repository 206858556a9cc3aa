/// The cluster keys of a node: one seals, all open, so that keys can be replaced while the cluster runs.
///
/// A ring is a value that merges: whatever order members learn of changes in, equal knowledge gives equal rings. The key
/// of the highest generation that is not retired seals; among equals the one of the highest fingerprint, so that two
/// halves of a cluster which both took a new key agree once they meet. A retired key opens until its grace is over,
/// for members that were away, and never seals again.
package struct ClusterKeyRing: Sendable {
    /// Two are needed to replace a key; more while a replacement is interrupted or a grace lasts.
    package static let keysMax = 4
    /// Fingerprints of keys that are gone, so that nobody brings them back.
    static let removedMax = 64
    /// Longest grace of a retired key, in seconds: a peer's word cannot keep one for ever.
    package static let graceSecondsMax: UInt64 = 7 * 86_400
    /// A key file is at most this long: four keys with comments.
    static let fileBytesMax = 16 << 10
    static let mapKeyBytes = 16

    /// A key and what it is for.
    package struct Entry: Sendable {
        package let key: ClusterKey
        package let fingerprint: KeyFingerprint
        /// Counts the sealing keys of the cluster up to this one; 0: has never sealed.
        package internal(set) var generation: UInt64
        /// Unix seconds at which it stops to open; nil while it is in service.
        package internal(set) var retiredUntil: UInt64?

        package var isRetired: Bool { retiredUntil != nil }

        init(key: ClusterKey, generation: UInt64 = 0, retiredUntil: UInt64? = nil) {
            self.key = key
            fingerprint = key.fingerprint
            self.generation = generation
            self.retiredUntil = retiredUntil
        }
    }

    /// The key that seals comes first, then those in service, then the retired.
    package internal(set) var entries: [Entry]
    /// Keys that are gone for good, the oldest first.
    package internal(set) var removed: [KeyFingerprint]
    /// Secret of the cache-map hashes: made from the cluster's first key, and kept when keys change, so that digests
    /// stay comparable.
    package internal(set) var mapKey: [UInt8]
    /// Whether the keys are secret; false for a node without a key, which must stay on loopback.
    package let isSecret: Bool

    /// A ring of one or more keys.
    package init(primary: ClusterKey, others: [ClusterKey] = []) {
        precondition(others.count < Self.keysMax, "at most \(Self.keysMax) keys, got \(others.count + 1)")
        self.init(
            entries: [Entry(key: primary, generation: 1)] + others.map { Entry(key: $0) },
            isSecret: true)
    }

    private init(entries: [Entry], isSecret: Bool) {
        self.entries = entries
        removed = []
        mapKey = Array(
            KeyedHash.hash(Array("cache map hash".utf8), key: entries[0].key.secret).prefix(Self.mapKeyBytes))
        self.isSecret = isSecret
        sort()
    }

    init(entries: [Entry], removed: [KeyFingerprint], mapKey: [UInt8]) {
        self.entries = entries
        self.removed = removed
        self.mapKey = mapKey
        isSecret = true
        sort()
    }

    /// The ring of a node without a key.
    package static func withoutKey() throws -> ClusterKeyRing {
        ClusterKeyRing(entries: [Entry(key: try .publicDefault(), generation: 1)], isSecret: false)
    }

    /// Reads a key file: one base64 key a line, the sealing one first; blank lines and lines that begin with `#` are skipped.
    ///
    /// A file that group or others may read or write is refused.
    package init(file path: String) throws {
        let content = try SecretFile.read(path, bytesMax: Self.fileBytesMax)
        var keys: [ClusterKey] = []
        let lines = content.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let text = String(decoding: line.filter { $0 > 32 }, as: UTF8.self)
            guard !text.isEmpty, !text.hasPrefix("#") else { continue }
            keys.append(try ClusterKey(base64: text, place: "\(path), line \(index + 1)"))
        }
        guard let first = keys.first, keys.count <= Self.keysMax else {
            throw SodiumError.malformed(
                what: "holds \(keys.count) keys", place: path,
                remedy: "put 1 to \(Self.keysMax) keys into it, one a line; `peerbuild keygen` makes them")
        }
        self.init(primary: first, others: Array(keys.dropFirst()))
    }

    // MARK: View

    /// The key that seals.
    package var primary: ClusterKey { entries[0].key }

    /// All keys that open, the primary first, those in their grace last.
    package var keys: [ClusterKey] { entries.map(\.key) }

    /// Keys in service.
    package var installed: [Entry] { entries.filter { !$0.isRetired } }

    /// Equal at two members when the same keys are in service and the same one seals.
    package var setHash: UInt32 {
        var message = Array("key set 1".utf8)
        for fingerprint in installed.dropFirst().map(\.fingerprint).sorted() + [entries[0].fingerprint] {
            for shift in stride(from: 56, through: 0, by: -8) {
                message.append(UInt8(truncatingIfNeeded: fingerprint.rawValue >> UInt64(shift)))
            }
        }
        return KeyedHash.hash(message, count: 16).prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The key whose fingerprint begins with these hex digits.
    package func key(named prefix: String) throws(KeyRingError) -> KeyFingerprint {
        let matches = entries.map(\.fingerprint).filter { "\($0)".hasPrefix(prefix.lowercased()) }
        guard let first = matches.first, !prefix.isEmpty else { throw .unknown(prefix) }
        guard matches.count == 1 else { throw .ambiguous(prefix) }
        return first
    }

    // MARK: Changes

    /// Adds a key that opens; it seals once it is used.
    package mutating func install(_ key: ClusterKey) throws(KeyRingError) {
        guard isSecret else { throw .noKey }
        let fingerprint = key.fingerprint
        guard !removed.contains(fingerprint) else { throw .retired(fingerprint) }
        if let known = entries.first(where: { $0.fingerprint == fingerprint }) {
            guard !known.isRetired else { throw .retired(fingerprint) }
            return
        }
        if entries.count >= Self.keysMax {
            // A grace that would end later gives way to a change that is wanted now.
            guard let oldest = entries.filter(\.isRetired).min(by: { $0.retiresBefore($1) }) else {
                throw .full(keysMax: Self.keysMax)
            }
            forget(oldest.fingerprint)
        }
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
        entries[index].generation = highestGeneration + 1
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
        let until = now &+ min(graceSeconds, Self.graceSecondsMax)
        entries[index].retiredUntil = min(entries[index].retiredUntil ?? until, until)
        sort()
        expire(at: now)
    }

    /// Drops retired keys whose grace is over; says whether there were any.
    @discardableResult
    package mutating func expire(at now: UInt64) -> Bool {
        let over = entries.filter { $0.retiredUntil.map { $0 <= now } ?? false }.map(\.fingerprint)
        for fingerprint in over { forget(fingerprint) }
        return !over.isEmpty
    }

    /// Takes over what another member's ring knows; says whether that changed anything.
    package mutating func merge(_ other: ClusterKeyRing, at now: UInt64) -> Bool {
        guard isSecret, other.isSecret else { return false }
        let before = self
        // Who has changed keys more often belongs to the older cluster: its map key stays.
        let theirs = other.highestGeneration
        if theirs > highestGeneration || theirs == highestGeneration && other.mapKey.lexicographicallyPrecedes(mapKey) {
            mapKey = other.mapKey
        }
        for entry in other.entries where !removed.contains(entry.fingerprint) { take(entry, at: now) }
        // A ring must have a key in service: a word that retires all of them is not taken.
        guard entries.contains(where: { !$0.isRetired }) else {
            self = before
            return false
        }
        sort()
        for fingerprint in other.removed where entries[0].fingerprint != fingerprint { forget(fingerprint) }
        while entries.count > Self.keysMax {
            let retired = entries.filter(\.isRetired).min { $0.retiresBefore($1) }
            forget((retired ?? entries[entries.count - 1]).fingerprint)
        }
        expire(at: now)
        return self != before
    }

    private mutating func take(_ entry: Entry, at now: UInt64) {
        let until = entry.retiredUntil.map { min($0, now &+ Self.graceSecondsMax) }
        guard let index = entries.firstIndex(where: { $0.fingerprint == entry.fingerprint }) else {
            entries.append(Entry(key: entry.key, generation: entry.generation, retiredUntil: until))
            return
        }
        entries[index].generation = max(entries[index].generation, entry.generation)
        if let until { entries[index].retiredUntil = min(entries[index].retiredUntil ?? until, until) }
    }

    private var highestGeneration: UInt64 { entries.map(\.generation).max() ?? 0 }

    private mutating func forget(_ fingerprint: KeyFingerprint) {
        entries.removeAll { $0.fingerprint == fingerprint }
        guard !removed.contains(fingerprint) else { return }
        removed.append(fingerprint)
        if removed.count > Self.removedMax { removed.removeFirst(removed.count - Self.removedMax) }
    }

    private mutating func sort() {
        entries.sort { left, right in
            if left.isRetired != right.isRetired { return right.isRetired }
            return (left.generation, left.fingerprint) > (right.generation, right.fingerprint)
        }
    }
}

extension ClusterKeyRing.Entry {
    fileprivate func retiresBefore(_ other: ClusterKeyRing.Entry) -> Bool {
        (retiredUntil ?? .max, fingerprint) < (other.retiredUntil ?? .max, other.fingerprint)
    }
}

extension ClusterKeyRing: Equatable {
    package static func == (left: ClusterKeyRing, right: ClusterKeyRing) -> Bool {
        left.isSecret == right.isSecret && left.mapKey == right.mapKey
            && left.removed.sorted() == right.removed.sorted()
            && left.entries.elementsEqual(right.entries) {
                $0.fingerprint == $1.fingerprint && $0.generation == $1.generation && $0.retiredUntil == $1.retiredUntil
            }
    }
}
