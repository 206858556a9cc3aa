/// A ring as bytes: what members exchange over sealed links, and what the root directory keeps with mode 0600.
///
/// | size | field |
/// | --- | --- |
/// | 4 | magic `PBK1` |
/// | 16 | map key |
/// | 1, then 48 each | keys: secret 32, generation 8, retired until 8 (0: in service) |
/// | 1, then 8 each | fingerprints of keys that are gone |
extension ClusterKeyRing {
    private static let magic = Array("PBK1".utf8)
    private static let entryBytes = ClusterKey.byteCount + 16
    /// Longest encoding.
    package static let encodedBytesMax = magic.count + mapKeyBytes + 2 + keysMax * entryBytes + removedMax * 8

    package func encoded() -> [UInt8] {
        var bytes = Self.magic + mapKey + [UInt8(entries.count)]
        bytes.reserveCapacity(Self.encodedBytesMax)
        for entry in entries {
            entry.key.secret.withBytes { bytes += UnsafeBufferPointer(start: $0, count: ClusterKey.byteCount) }
            Self.append(entry.generation, to: &bytes)
            Self.append(entry.retiredUntil ?? 0, to: &bytes)
        }
        bytes.append(UInt8(removed.count))
        for fingerprint in removed { Self.append(fingerprint.rawValue, to: &bytes) }
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
        guard (1...Self.keysMax).contains(count), bytes.count > removedAt else {
            throw KeyRingError.malformed("\(count) keys in \(bytes.count) bytes")
        }
        let removedCount = Int(bytes[removedAt])
        guard removedCount <= Self.removedMax, bytes.count == removedAt + 1 + removedCount * 8 else {
            throw KeyRingError.malformed("\(removedCount) removed keys in \(bytes.count) bytes")
        }
        var entries: [Entry] = []
        for index in 0..<count {
            let start = fixed + 1 + index * Self.entryBytes
            let key = try ClusterKey(bytes: bytes[start..<start + ClusterKey.byteCount])
            let until = Self.number(bytes, at: start + ClusterKey.byteCount + 8)
            let entry = Entry(
                key: key, generation: Self.number(bytes, at: start + ClusterKey.byteCount),
                retiredUntil: until == 0 ? nil : until)
            // The highest number is kept free, so that there is always a next one.
            guard entry.generation < UInt64.max >> 1, !entries.contains(where: { $0.fingerprint == entry.fingerprint })
            else { throw KeyRingError.malformed("a key twice or a generation out of range") }
            entries.append(entry)
        }
        guard entries.contains(where: { !$0.isRetired }) else { throw KeyRingError.malformed("no key in service") }
        let removed = (0..<removedCount).map {
            KeyFingerprint(rawValue: Self.number(bytes, at: removedAt + 1 + $0 * 8))
        }
        guard Set(removed).count == removed.count, !entries.contains(where: { removed.contains($0.fingerprint) }) else {
            throw KeyRingError.malformed("a removed key twice or in service")
        }
        self.init(entries: entries, removed: removed, mapKey: Array(bytes[Self.magic.count..<fixed]))
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

extension ClusterKeyRing {
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
        let known = Set(kept.entries.map(\.fingerprint)).union(kept.removed)
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
