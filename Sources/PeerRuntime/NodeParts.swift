internal import ClusterModel
internal import ContentStore
internal import Logging
internal import OCI
internal import Snapshots
internal import Worker

/// The parts of a node that a build at home uses.
struct NodeParts: Sendable {
    let dialer: any PeerDialer
    let solver: SolverShell
    let snapshots: SnapshotStore
    let blobs: ContentStore
    let fetcher: LayerFetcher
    let loader: ImageLoader
    let pushes: ImagePushService
    let metadata: SourceMetadata
    let exportDirectory: String
    let platforms: [Platform]
    let logger: Logger
}
