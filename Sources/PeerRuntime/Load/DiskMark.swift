internal import Gossip

/// Whether a disk is low, with two marks, so that one that hovers at a mark is not a change of class again and again.
struct DiskMark: Hashable, Sendable {
    /// Below this a disk is low: gossip's own mark, at which a load record is of another class and is pushed at once.
    static let lowBytes: UInt64 = 1 << 30
    /// A disk that was low is so until this much is free.
    static let wellBytes: UInt64 = lowBytes + lowBytes / 4
    /// The unit of load records: less is none, and none means that nothing is known.
    static let unitBytes: UInt64 = 1 << 20

    private(set) var isLow = false

    /// What a load record says of a disk with `free` bytes: below the low mark as long as the disk is low.
    mutating func told(_ free: UInt64) -> UInt64 {
        isLow = free < (isLow ? Self.wellBytes : Self.lowBytes)
        return max(Self.unitBytes, isLow ? min(free, Self.lowBytes - Self.unitBytes) : free)
    }
}

extension LoadRecord {
    /// Whether it says that its node's disk is low.
    var isDiskLow: Bool { diskFree > 0 && diskFree < DiskMark.lowBytes }
}

extension Member {
    /// Whether it, or who probes it, says that it cannot do much now: its loop was late lately, or its disk is low.
    var isStrained: Bool { condition == .stalled || load.flags.contains(.stalled) || load.isDiskLow }
}
