internal import ClusterModel

/// Where a digest stands: two replicas of one owner are equal when their positions are.
package struct MapPosition: Hashable, Sendable {
    /// Names a history of the digest; later ones are higher, 0 is none.
    package var epoch: UInt32
    /// Deltas since the epoch began.
    package var sequence: UInt32
    /// XOR over the published short hashes, mixed: 0 for none.
    package var root: UInt64

    package init(epoch: UInt32, sequence: UInt32, root: UInt64) {
        self.epoch = epoch
        self.sequence = sequence
        self.root = root
    }

    /// Encoded size in bytes.
    static let byteCount = 16
    /// No sequence reaches this, so that there is always a next one: an owner begins a new epoch before.
    static let sequencesEnd = UInt32.max

    /// What a short hash adds to a root, or takes from it.
    static func mix(_ short: UInt32) -> UInt64 { SplitMix64.mix(UInt64(short) &+ 0x6D61_7020_726F_6F74) }

    /// What the digest of `owner` adds to the root over all nodes.
    func contribution(of owner: PeerID) -> UInt32 {
        // A digest that nobody has seen and one that is empty from its start are the same to everybody.
        let place = SplitMix64.mix(owner.rawValue ^ UInt64(epoch) << 32 ^ UInt64(sequence))
        return UInt32(truncatingIfNeeded: SplitMix64.mix(place ^ root) >> 32)
    }

    /// Nothing was ever published in this epoch.
    var isUntouched: Bool { sequence == 0 && root == 0 }

    func isBehind(_ other: MapPosition) -> Bool { (epoch, sequence) < (other.epoch, other.sequence) }

    func encode(into writer: inout ByteWriter) {
        writer.append(epoch)
        writer.append(sequence)
        writer.append(root)
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        epoch = try reader.read()
        sequence = try reader.read()
        guard sequence < Self.sequencesEnd else { throw .outOfRange(field: "sequence") }
        root = try reader.read()
    }
}
