internal import BuildKitProtocol
internal import Foundation
internal import LLB
internal import SwiftProtobuf

/// One message of the status stream in plain values; times are nanoseconds since 1970.
package struct ProgressUpdate: Sendable, Hashable {
    package var vertices: [Vertex] = []
    package var statuses: [Status] = []
    package var logs: [Log] = []
    package var warnings: [Warning] = []

    package init() {}

    /// Takes a later update in: what it says of a vertex or status replaces what was said before.
    mutating func append(_ later: ProgressUpdate) {
        for vertex in later.vertices {
            if let index = vertices.firstIndex(where: { $0.digest == vertex.digest }) {
                vertices[index] = vertex
            } else {
                vertices.append(vertex)
            }
        }
        for status in later.statuses {
            if let index = statuses.firstIndex(where: { $0.vertex == status.vertex && $0.id == status.id }) {
                statuses[index] = status
            } else {
                statuses.append(status)
            }
        }
        logs += later.logs
        warnings += later.warnings
    }

    package struct Vertex: Sendable, Hashable {
        package var digest: String
        package var inputs: [String]
        package var name: String
        package var isCached = false
        package var started: Int64?
        package var completed: Int64?
        package var error = ""

        package init(digest: String, name: String, inputs: [String] = []) {
            self.digest = digest
            self.name = name
            self.inputs = inputs
        }
    }

    package struct Status: Sendable, Hashable {
        package var id: String
        package var vertex: String
        package var name = ""
        package var current: Int64 = 0
        /// 0 when unknown.
        package var total: Int64 = 0
        package var timestamp: Int64 = 0
        package var started: Int64?
        package var completed: Int64?

        package init(id: String, vertex: String) {
            self.id = id
            self.vertex = vertex
        }
    }

    package struct Log: Sendable, Hashable {
        package var vertex: String
        package var stream: Int64
        package var timestamp: Int64
        package var bytes: [UInt8]

        package init(vertex: String, stream: Int64, timestamp: Int64, bytes: [UInt8]) {
            self.vertex = vertex
            self.stream = stream
            self.timestamp = timestamp
            self.bytes = bytes
        }
    }

    package struct Warning: Sendable, Hashable {
        package var vertex: String
        package var level: Int64 = 1
        package var short: String
        package var detail: [String] = []
        package var url = ""
        /// Such as `Dockerfile:3`; empty when the place is unknown.
        package var place = ""

        package init(vertex: String, short: String) {
            self.vertex = vertex
            self.short = short
        }
    }

    init(_ response: Moby_Buildkit_V1_StatusResponse) {
        vertices = response.vertexes.map { source in
            var vertex = Vertex(digest: source.digest, name: source.name, inputs: source.inputs)
            vertex.isCached = source.cached
            vertex.started = source.hasStarted ? source.started.nanosecondsSince1970 : nil
            vertex.completed = source.hasCompleted ? source.completed.nanosecondsSince1970 : nil
            vertex.error = source.error
            return vertex
        }
        statuses = response.statuses.map { source in
            var status = Status(id: source.id, vertex: source.vertex)
            status.name = source.name
            status.current = source.current
            status.total = source.total
            status.timestamp = source.timestamp.nanosecondsSince1970
            status.started = source.hasStarted ? source.started.nanosecondsSince1970 : nil
            status.completed = source.hasCompleted ? source.completed.nanosecondsSince1970 : nil
            return status
        }
        logs = response.logs.map {
            Log(
                vertex: $0.vertex, stream: $0.stream, timestamp: $0.timestamp.nanosecondsSince1970, bytes: Array($0.msg)
            )
        }
        warnings = response.warnings.map { source in
            var warning = Warning(vertex: source.vertex, short: String(decoding: source.short, as: UTF8.self))
            warning.level = source.level
            warning.detail = source.detail.map { String(decoding: $0, as: UTF8.self) }
            warning.url = source.url
            if source.hasInfo, let line = source.ranges.first?.start.line {
                warning.place = "\(source.info.filename):\(line)"
            }
            return warning
        }
    }
}

extension Google_Protobuf_Timestamp {
    var nanosecondsSince1970: Int64 { seconds &* 1_000_000_000 &+ Int64(nanos) }
}
