package import ClusterModel

/// A table of members that many nodes of one process start from, and share as long as they do not change it.
package struct MemberCensus: Sendable {
    var table: MemberTable

    package init(_ members: [(id: PeerID, bootID: UInt64, metadata: MemberMetadata)], at now: MonotonicInstant) {
        table = MemberTable(at: now)
        for (id, bootID, metadata) in members {
            var load = LoadRecord()
            load.slots = metadata.slots
            table.set(
                MemberTable.Entry(
                    member: Member(
                        id: id, bootID: bootID, incarnation: 0, state: .alive, metadata: metadata, load: load)),
                at: now)
        }
    }
}
