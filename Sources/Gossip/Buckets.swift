internal import ClusterModel

/// A table in shares, by a hash of the id: two nodes compare hashes of the shares and send only those that differ.
enum Buckets {
    static let countMax = 256
    static let countMin = 16
    /// Members per bucket that are aimed at: one bucket is a third of a small packet.
    private static let membersAimed = 8

    /// A power of two that fits both the table and the packet.
    static func count(members: Int, datagramBytesMax: Int) -> Int {
        var count = countMin
        while count < countMax, count * membersAimed < members, count * 2 * 4 + Codec.frameBytesMax <= datagramBytesMax
        {
            count *= 2
        }
        return count
    }

    static func index(of id: PeerID, count: Int) -> Int { Int(SplitMix64.mix(id.rawValue) >> 40) & (count - 1) }
}

extension MemberTable {
    /// One hash per bucket over the members that are up.
    func bucketHashes(count: Int) -> [UInt32] {
        var hashes = [UInt64](repeating: 0, count: count)
        for id in up { hashes[Buckets.index(of: id, count: count)] ^= Self.term(self[id]?.member) }
        return hashes.map { UInt32(truncatingIfNeeded: $0 ^ $0 >> 32) }
    }

    /// All that is known of the members in one bucket, the down included, by id.
    func standings(inBucket index: Int, of count: Int) -> [Standing] {
        ids.filter { Buckets.index(of: $0, count: count) == index }.sorted().compactMap { id in
            self[id].map {
                Standing(
                    id: id, bootID: $0.member.bootID, incarnation: $0.member.incarnation, state: $0.member.state)
            }
        }
    }
}
