internal import BuildKitProtocol
internal import FoundationEssentials
internal import OCI
internal import PeerRuntime
internal import SwiftProtobuf

/// Build events in BuildKit's messages.
enum StatusMessage {
    static func vertex(_ vertex: VertexProgress) -> Moby_Buildkit_V1_Vertex {
        .with {
            $0.digest = vertex.digest.description
            $0.inputs = vertex.inputs.map(\.description)
            $0.name = vertex.name
            $0.cached = vertex.isCached
            if let started = vertex.started { $0.started = timestamp(started) }
            if let completed = vertex.completed { $0.completed = timestamp(completed) }
            $0.error = vertex.error
            if let group = vertex.progressGroup { $0.progressGroup = group }
        }
    }

    static func status(_ status: StatusProgress) -> Moby_Buildkit_V1_VertexStatus {
        .with {
            $0.id = status.id
            $0.vertex = status.vertex.description
            $0.name = status.name
            $0.current = status.current
            $0.total = status.total
            $0.timestamp = timestamp(status.timestamp)
            if let started = status.started { $0.started = timestamp(started) }
            if let completed = status.completed { $0.completed = timestamp(completed) }
        }
    }

    static func log(_ log: VertexLog, _ bytes: some Sequence<UInt8>) -> Moby_Buildkit_V1_VertexLog {
        .with {
            $0.vertex = log.vertex.description
            $0.timestamp = timestamp(log.timestamp)
            $0.stream = Int64(log.stream)
            $0.msg = Data(bytes)
        }
    }

    static func warning(_ warning: BuildWarning) -> Moby_Buildkit_V1_VertexWarning {
        .with {
            $0.vertex = warning.vertex.description
            $0.level = Int64(warning.level)
            $0.short = Data(warning.short.utf8)
            $0.detail = warning.detail.map { Data($0.utf8) }
            $0.url = warning.url
            if let source = warning.source { $0.info = source }
            $0.ranges = warning.ranges
        }
    }

    /// A timestamp from nanoseconds since 1970.
    static func timestamp(_ nanoseconds: Int64) -> Google_Protobuf_Timestamp {
        let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        return .with {
            $0.seconds = rest < 0 ? seconds - 1 : seconds
            $0.nanos = Int32(rest < 0 ? rest + 1_000_000_000 : rest)
        }
    }
}
