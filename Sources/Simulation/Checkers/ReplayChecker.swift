internal import ClusterModel
internal import Gossip

/// A datagram that comes a second time changes no member's standing; and none is answered at length to an address that
/// its sender does not advertise, where it may be unwelcome.
///
/// Looks at every `stride`-th datagram, on a copy of its receiver.
package struct ReplayChecker: Sendable {
    private var count = 0
    private let stride: Int
    private let answerExcess: Int

    /// `answerExcess`: bytes that answers may have more than the question; below 0, for tests of the checker, not even
    /// the shortest will do.
    package init(stride: Int = 16, answerExcess: Int = 0) {
        self.stride = stride
        self.answerExcess = answerExcess
    }

    private struct Standing: Equatable {
        var id: PeerID
        var bootID: UInt64
        var incarnation: UInt32
        var state: Member.State
    }

    /// Called after the node has handled `event`; what is wrong, in words.
    mutating func check(_ event: Membership.Event, by node: ClusterSimulation.Node, at now: MonotonicInstant) -> String?
    {
        guard case .datagram(let bytes, _, let sender, let bootID) = event, node.isRunning else { return nil }
        count += 1
        guard count % stride == 0 else { return nil }
        let before = Self.standings(node.membership)
        var copy = node.membership
        var answer = 0
        // An attacker sends it again under an address of its choice.
        let spoofed = Membership.Event.datagram(bytes, from: Self.stranger, sender: sender, bootID: bootID)
        for case .send(let bytes, Self.stranger) in copy.handle(spoofed, at: now) {
            answer += bytes.count + Self.datagramOverhead
        }
        guard Self.standings(copy) == before else {
            return "replay: a datagram of \(bytes.count) bytes changed its table"
        }
        guard answer == 0 || answer <= bytes.count + Self.datagramOverhead + answerExcess else {
            let asked = bytes.count + Self.datagramOverhead
            return "reflection: a datagram of \(asked) bytes caused \(answer) to a stranger's address"
        }
        return nil
    }

    /// No member's; from the block for documentation (RFC 5737).
    private static let stranger = PeerAddress(host: "192.0.2.1", port: 9)
    /// IP and UDP headers and the seal.
    private static let datagramOverhead = 72

    private static func standings(_ membership: Membership) -> [Standing] {
        membership.members.map {
            Standing(id: $0.id, bootID: $0.bootID, incarnation: $0.incarnation, state: $0.state)
        }
    }
}
