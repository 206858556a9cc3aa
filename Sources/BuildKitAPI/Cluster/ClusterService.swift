internal import BuildKitProtocol
internal import Foundation
internal import GRPCCore
internal import PeerRuntime
internal import SwiftProtobuf

/// `peerbuild.v1.Cluster`: what the commands `status`, `explain`, `drain` and `leave` ask.
struct ClusterService: Peerbuild_V1_Cluster.SimpleServiceProtocol {
    let cluster: any ClusterView

    func status(
        request: Peerbuild_V1_StatusRequest, context: ServerContext
    ) async throws -> Peerbuild_V1_StatusResponse {
        let members = await cluster.members()
        let builds = await cluster.builds()
        let counters = await cluster.counters()
        let gossip = await cluster.gossip()
        let links = await cluster.links()
        return .with { response in
            response.gossip = Self.message(gossip)
            response.members = members.map(Self.message)
            response.builds = builds.map(Self.message)
            response.counters = .with {
                $0.verticesExecuted = counters.verticesExecuted
                $0.layerBytesPulled = counters.layerBytesPulled
                $0.layerBytesServed = counters.layerBytesServed
                $0.layerBytesDeduplicated = counters.layerBytesDeduplicated
                $0.layerBytesResumed = counters.layerBytesResumed
                $0.registryBytesPulled = counters.registryBytesPulled
                $0.layerBytesLeftOut = counters.layerBytesLeftOut
                $0.layerBytesPrefetched = counters.layerBytesPrefetched
                $0.links = links.counters
                $0.bloomHits = counters.bloomHits
                $0.bloomHitsDenied = counters.bloomHitsDenied
            }
            response.links = links.links.map(Self.message)
        }
    }

    func explain(
        request: Peerbuild_V1_ExplainRequest, context: ServerContext
    ) async throws -> Peerbuild_V1_ExplainResponse {
        guard let report = await cluster.report(ofBuild: request.ref.isEmpty ? nil : request.ref) else {
            throw RPCError(
                code: .notFound,
                message: request.ref.isEmpty
                    ? "this node has not built anything yet"
                    : "build \(request.ref) is not known to this node; ask the node that it was submitted to")
        }
        return .with { response in
            response.ref = report.reference
            response.home = report.home
            response.vertices = report.vertices.map { Self.message($0, of: report) }
            let moved = report.moved
            response.bytesPulled = UInt64(clamping: moved.pulled)
            response.bytesDeduplicated = UInt64(clamping: moved.deduplicated)
            response.bytesResumed = UInt64(clamping: moved.resumed)
            response.bytesLeftOut = UInt64(clamping: moved.leftOut)
            response.registryBytes = UInt64(clamping: moved.registry)
            response.bytesPrefetched = UInt64(clamping: moved.prefetched)
            response.bytesServed = Self.served(moved, of: report)
            response.executed = UInt32(clamping: report.vertices.count { $0.outcome == .executed })
            response.cached = UInt32(
                clamping: report.vertices.count { $0.outcome == .cachedLocal || $0.outcome == .cachedPeer })
        }
    }

    func drain(
        request: Peerbuild_V1_DrainRequest, context: ServerContext
    ) async throws -> Peerbuild_V1_DrainResponse {
        do {
            try await cluster.setDraining(node: request.node, request.drain)
        } catch {
            throw RPCError(code: .notFound, message: "\(error)")
        }
        return .init()
    }

    func leave(
        request: Peerbuild_V1_LeaveRequest, context: ServerContext
    ) async throws -> Peerbuild_V1_LeaveResponse {
        await cluster.leave()
        return .init()
    }

    func keys(request: Peerbuild_V1_KeysRequest, context: ServerContext) async throws -> Peerbuild_V1_KeysResponse {
        let change: KeyChange =
            switch request.action {
            case .list: .list
            case .install: .install(request.key)
            case .use: .use(request.key)
            case .remove: .remove(request.key)
            case .rotate: .rotate
            case .UNRECOGNIZED(let number):
                throw RPCError(code: .invalidArgument, message: "key action \(number) is not known to this node")
            }
        do {
            let keys = try await cluster.changeKeys(change)
            return .with { $0.keys = keys.map(Self.message) }
        } catch let error as CancellationError {
            throw error
        } catch {
            throw RPCError(code: .failedPrecondition, message: "\(error)")
        }
    }

    private static func message(_ gossip: GossipView) -> Peerbuild_V1_Gossip {
        .with {
            $0.counters = gossip.counters
            $0.seeds = gossip.seeds.map { seed in
                .with {
                    $0.name = seed.name
                    $0.addresses = seed.addresses
                    $0.error = seed.error ?? ""
                }
            }
            $0.keys = gossip.keys.map(message)
            $0.warnings = gossip.warnings
        }
    }

    private static func message(_ link: LinksView.Link) -> Peerbuild_V1_PeerLink {
        .with {
            $0.peer = link.peer
            $0.address = link.address
            $0.dialed = link.isDialer
            $0.cipher = link.cipher
            $0.ageSeconds = link.ageSeconds
            $0.openStreams = UInt32(clamping: link.openStreams)
            $0.bytesOut = link.bytesOut
            $0.bytesIn = link.bytesIn
        }
    }

    private static func message(_ key: KeyView) -> Peerbuild_V1_Key {
        .with {
            $0.fingerprint = key.fingerprint
            $0.state = key.state.rawValue
            $0.generation = key.generation
            $0.retiredUntil =
                key.retiredUntil.map { Date(timeIntervalSince1970: Double($0)).ISO8601Format() } ?? ""
        }
    }

    private static func message(_ member: MemberView) -> Peerbuild_V1_Member {
        .with {
            $0.name = member.name
            $0.id = member.id
            $0.address = member.address
            $0.state = member.state
            $0.incarnation = member.incarnation
            $0.slots = UInt32(clamping: member.slots)
            $0.running = UInt32(clamping: member.running)
            $0.queued = UInt32(clamping: member.queued)
            $0.labels = member.labels
            $0.platforms = member.platforms
            $0.cacheKeys = UInt64(clamping: member.cacheKeys)
            $0.cacheBytes = UInt64(clamping: member.cacheBytes)
            $0.version = member.version
            $0.self_p = member.isSelf
            $0.loadAgeSeconds = member.loadAgeSeconds ?? -1
            $0.alternatives = member.alternatives
            $0.conditions = member.conditions
            $0.cpuBusy = member.cpuBusy
            $0.memoryFree = member.memoryFree
            $0.diskFree = member.diskFree
        }
    }

    private static func message(_ build: BuildView) -> Peerbuild_V1_RunningBuild {
        .with {
            $0.ref = build.reference
            $0.home = build.home
            $0.vertices = UInt32(clamping: build.vertices)
            $0.completed = UInt32(clamping: build.completed)
            $0.cached = UInt32(clamping: build.cached)
            $0.running = UInt32(clamping: build.running)
            $0.started = Date(timeIntervalSince1970: Double(build.started) / 1e9).ISO8601Format()
        }
    }

    /// By name; nodes that share one share a line.
    private static func served(_ moved: MovedBytes, of report: BuildReport) -> [String: UInt64] {
        Dictionary(moved.served.map { (report.servers[$0] ?? "\($0)", UInt64(clamping: $1)) }) { $0 &+ $1 }
    }

    private static func message(
        _ vertex: BuildReport.Vertex, of report: BuildReport
    ) -> Peerbuild_V1_VertexReport {
        .with {
            $0.digest = vertex.digest
            $0.name = vertex.name
            $0.node = vertex.node
            $0.outcome = vertex.outcome.rawValue
            $0.seconds = vertex.seconds
            $0.bytesPulled = UInt64(clamping: vertex.moved.pulled)
            $0.bytesDeduplicated = UInt64(clamping: vertex.moved.deduplicated)
            $0.bytesResumed = UInt64(clamping: vertex.moved.resumed)
            $0.bytesLeftOut = UInt64(clamping: vertex.moved.leftOut)
            $0.registryBytes = UInt64(clamping: vertex.moved.registry)
            $0.bytesPrefetched = UInt64(clamping: vertex.moved.prefetched)
            $0.bytesServed = served(vertex.moved, of: report)
            $0.attempts = UInt32(clamping: vertex.attempts)
            $0.candidates = vertex.candidates.map { candidate in
                .with {
                    $0.node = candidate.node
                    $0.queueDelaySeconds = candidate.queueDelaySeconds
                    $0.bytesToPull = UInt64(clamping: candidate.bytesToPull)
                    $0.scoreSeconds = candidate.scoreSeconds
                }
            }
        }
    }
}
