package import ClusterKeys

/// A ring as bytes: what members exchange over sealed links, and what the root directory keeps with mode 0600.
///
/// | size | field |
/// | --- | --- |
/// | 4 | magic `PBK2` |
/// | 16 | map key |
/// | 1, then 48 each | keys: secret 32, generation 8, retired until 8 (0: in service) |
/// | 1, then 16 each | removed keys: fingerprint 8, generation 8 |
extension KeyRing where Key == ClusterKey {
    private static var magic: [UInt8] { Array("PBK2".utf8) }
    private static var entryBytes: Int { ClusterKey.byteCount + 16 }
    private static var rankBytes: Int { 16 }
    /// Longest encoding.
    package static var encodedBytesMax: Int {
        magic.count + mapKeyBytes + 2 + heldMax * entryBytes + removedMax * rankBytes
    }

    package func encoded() -> [UInt8] {
        var bytes = Self.magic + mapKey + [UInt8(entries.count)]
        bytes.reserveCapacity(Self.encodedBytesMax)
        for entry in entries {
            entry.key.secret.withBytes { bytes += UnsafeBufferPointer(start: $0, count: ClusterKey.byteCount) }
            Self.append(entry.generation, to: &bytes)
            Self.append(entry.retiredUntil ?? 0, to: &bytes)
        }
        bytes.append(UInt8(removed.count))
        for rank in removed {
            Self.append(rank.fingerprint.rawValue, to: &bytes)
            Self.append(rank.generation, to: &bytes)
        }
        return bytes
    }

    /// Reads `encoded()`; any other bytes give `KeyRingError.malformed`.
    package init(decoding bytes: [UInt8]) throws {
        let fixed = Self.magic.count + Self.mapKeyBytes
        guard bytes.count > fixed, bytes.count <= Self.encodedBytesMax, bytes.starts(with: Self.magic) else {
            throw KeyRingError.malformed("\(bytes.count) bytes without its mark")
        }
        let count = Int(bytes[fixed])
        let removedAt = fixed + 1 + count * Self.entryBytes
        guard (1...Self.heldMax).contains(count), bytes.count > removedAt else {
            throw KeyRingError.malformed("\(count) keys in \(bytes.count) bytes")
        }
        let removedCount = Int(bytes[removedAt])
        guard removedCount <= Self.removedMax, bytes.count == removedAt + 1 + removedCount * Self.rankBytes else {
            throw KeyRingError.malformed("\(removedCount) removed keys in \(bytes.count) bytes")
        }
        let entries = try (0..<count).map { try Self.entry(bytes, at: fixed + 1 + $0 * Self.entryBytes) }
        let removed = (0..<removedCount).map { index in
            let start = removedAt + 1 + index * Self.rankBytes
            return KeyRank(
                fingerprint: KeyFingerprint(rawValue: Self.number(bytes, at: start)),
                generation: Self.number(bytes, at: start + 8))
        }
        try Self.check(entries, removed)
        self.init(entries: entries, removed: removed, mapKey: Array(bytes[Self.magic.count..<fixed]))
    }

    private static func entry(_ bytes: [UInt8], at start: Int) throws -> Entry {
        let key = try ClusterKey(bytes: bytes[start..<start + ClusterKey.byteCount])
        let until = number(bytes, at: start + ClusterKey.byteCount + 8)
        return Entry(
            key: key, generation: number(bytes, at: start + ClusterKey.byteCount),
            retiredUntil: until == 0 ? nil : until)
    }

    private static func check(_ entries: [Entry], _ removed: [KeyRank]) throws {
        let names = Set(removed.map(\.fingerprint))
        guard Set(entries.map(\.fingerprint)).count == entries.count, names.count == removed.count else {
            throw KeyRingError.malformed("a key twice")
        }
        guard (entries.map(\.generation) + removed.map(\.generation)).allSatisfy({ $0 < generationsEnd }) else {
            throw KeyRingError.malformed("a generation out of range")
        }
        guard entries.filter(\.isRetired).allSatisfy({ names.contains($0.fingerprint) }) else {
            throw KeyRingError.malformed("a key in its grace that was not removed")
        }
        // A removed key may seal when it is all that is left.
        let installed = entries.filter { !$0.isRetired }
        guard !installed.isEmpty, installed.count == 1 || !installed.contains(where: { names.contains($0.fingerprint) })
        else { throw KeyRingError.malformed("no key in service, or a removed one") }
    }

    private static func append(_ number: UInt64, to bytes: inout [UInt8]) {
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift)))
        }
    }

    private static func number(_ bytes: [UInt8], at index: Int) -> UInt64 {
        bytes[index..<index + 8].reduce(0) { $0 << 8 | UInt64($1) }
    }
}

extension KeyRing where Key == ClusterKey {
    /// The ring that a node starts with: what its root keeps, and what its key file says beside it.
    ///
    /// A key of the file that the kept ring has never met was put there by an operator: the first of them seals from now
    /// on. A key that was retired while the node ran stays retired, though the file may still hold it.
    package static func atStart(keyFile ring: ClusterKeyRing, kept path: String, now: UInt64) throws -> ClusterKeyRing {
        guard ring.isSecret, SecretFile.exists(path) else { return ring }
        var kept: ClusterKeyRing
        do {
            kept = try ClusterKeyRing(decoding: try SecretFile.read(path, bytesMax: encodedBytesMax))
        } catch let error as KeyRingError {
            throw SodiumError.malformed(
                what: "\(error)", place: path,
                remedy: "delete it and put the cluster's present key into the key file")
        }
        kept.expire(at: now)
        let known = Set(kept.entries.map(\.fingerprint)).union(kept.removed.map(\.fingerprint))
        let fresh = ring.entries.filter { !known.contains($0.fingerprint) }
        for entry in fresh { try kept.install(entry.key) }
        if let first = ring.entries.first, fresh.contains(where: { $0.fingerprint == first.fingerprint }) {
            try kept.use(first.fingerprint)
        }
        return kept
    }

    /// Keeps the ring at `path`, mode 0600, whole or not at all; the ring of a node without a key is not kept.
    package func keep(at path: String) throws {
        guard isSecret else { return }
        try SecretFile.write(encoded(), to: path)
    }
}
