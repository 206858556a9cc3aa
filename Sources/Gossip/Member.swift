package import ClusterModel

/// A node as this node sees it.
package struct Member: Hashable, Sendable {
    package let id: PeerID
    package internal(set) var bootID: UInt64
    /// Raised only by the member itself, to refute an accusation or to change its metadata.
    package internal(set) var incarnation: UInt32
    package internal(set) var state: State
    package internal(set) var metadata: MemberMetadata
    /// The last load record that arrived; its `slots` may differ from the advertised ones.
    package internal(set) var load: LoadRecord

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
