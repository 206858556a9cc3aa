package import ClusterModel

/// A node as this node sees it.
package struct Member: Hashable, Sendable {
    package let id: PeerID
    package internal(set) var bootID: UInt64
    /// Raised only by the member itself, to refute an accusation or to change its metadata.
    package internal(set) var incarnation: UInt32
    package internal(set) var state: State
    package internal(set) var metadata: MemberMetadata
    /// The newest load record that arrived; its `slots` may differ from the advertised ones.
    package internal(set) var load: LoadRecord
    /// When the member wrote that load record, as far as this node can tell; nil before the first.
    package internal(set) var loadAt: MonotonicInstant?
    package internal(set) var holdings = Holdings()
    /// What is known of the way to it beside its state.
    package internal(set) var condition = Condition.well

    package enum Condition: UInt8, Sendable, Hashable {
        case well
        /// Its kernel accepts connections and its process says nothing: no new work until it does.
        case stalled
        /// Reached by streams only.
        case udpBlocked
    }

    package enum State: UInt8, Sendable, Hashable {
        case alive, suspect, dead, left
    }

    package var name: String { metadata.name }
    package var address: PeerAddress { metadata.address }
    package var platforms: [String] { metadata.platforms }
    package var labels: [String: String] { metadata.labels }
    package var version: String { metadata.version }
    package var slots: Int { Int(metadata.slots) }
    /// Alive or suspect: still probed, still given work's questions.
    package var isUp: Bool { state == .alive || state == .suspect }
    /// Up, and neither draining nor stalled.
    package var takesWork: Bool { isUp && !load.isDraining && condition != .stalled }

    /// Age of the load record at `now`; nil before the first.
    package func loadAge(at now: MonotonicInstant) -> Duration? { loadAt.map { now - $0 } }
}

/// What is kept across restarts of a member, to rejoin when no seed answers.
package struct MemberSnapshot: Hashable, Sendable, Codable {
    package var id: PeerID
    package var name: String
    package var address: PeerAddress

    package init(id: PeerID, name: String, address: PeerAddress) {
        self.id = id
        self.name = name
        self.address = address
    }
}
