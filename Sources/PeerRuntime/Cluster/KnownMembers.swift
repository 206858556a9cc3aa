internal import ClusterModel
internal import Gossip

/// The members that this node has heard of: all that are up, and of the others those that went down last.
///
/// Those are kept for their names in reports; nodes that live for one start only, under an identity each, would fill it
/// for good.
struct KnownMembers: Sendable {
    /// Members that are down and kept.
    static let downMax = 4_096

    private(set) var members: [PeerID: Member] = [:]
    /// When each that is down went down, as a number of its turn.
    private var downTurns: [PeerID: UInt64] = [:]
    private var turns: UInt64 = 0

    /// Takes what is known of a member now; the one that has been down for longest goes when there are too many.
    mutating func update(_ member: Member) {
        members[member.id] = member
        guard !member.isUp else {
            downTurns[member.id] = nil
            return
        }
        guard downTurns[member.id] == nil else { return }
        turns += 1
        downTurns[member.id] = turns
        guard downTurns.count > Self.downMax else { return }
        guard let oldest = downTurns.min(by: { $0.value < $1.value })?.key else { return }
        downTurns[oldest] = nil
        members[oldest] = nil
    }
}
