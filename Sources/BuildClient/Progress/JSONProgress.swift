internal import Foundation

/// `--progress rawjson`: one `SolveStatus` of BuildKit a line.
package struct JSONProgress: ProgressPrinter {
    package init() {}
    package func tick(at now: Int64) -> String { "" }
    package func end(at now: Int64) -> String { "" }

    package func text(for update: ProgressUpdate) -> String {
        let message = Message(update)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(message) else { return "" }
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    private struct Message: Encodable {
        var vertexes: [Vertex]?
        var statuses: [Status]?
        var logs: [Log]?
        var warnings: [Warning]?

        init(_ update: ProgressUpdate) {
            let vertexes = update.vertices.map { vertex in
                Vertex(
                    digest: vertex.digest, inputs: vertex.inputs.isEmpty ? nil : vertex.inputs, name: vertex.name,
                    started: vertex.started.map(Self.time), completed: vertex.completed.map(Self.time),
                    cached: vertex.isCached ? true : nil, error: vertex.error.isEmpty ? nil : vertex.error)
            }
            let statuses = update.statuses.map { status in
                Status(
                    id: status.id, vertex: status.vertex, name: status.name.isEmpty ? nil : status.name,
                    total: status.total == 0 ? nil : status.total, current: status.current,
                    timestamp: Self.time(status.timestamp), started: status.started.map(Self.time),
                    completed: status.completed.map(Self.time))
            }
            let logs = update.logs.map {
                Log(vertex: $0.vertex, stream: $0.stream, data: Data($0.bytes), timestamp: Self.time($0.timestamp))
            }
            let warnings = update.warnings.map {
                Warning(
                    vertex: $0.vertex, level: $0.level, short: Data($0.short.utf8),
                    detail: $0.detail.map { Data($0.utf8) }, url: $0.url.isEmpty ? nil : $0.url)
            }
            self.vertexes = vertexes.isEmpty ? nil : vertexes
            self.statuses = statuses.isEmpty ? nil : statuses
            self.logs = logs.isEmpty ? nil : logs
            self.warnings = warnings.isEmpty ? nil : warnings
        }

        /// RFC 3339 in UTC with nanoseconds.
        static func time(_ nanoseconds: Int64) -> String {
            let formatter = ISO8601DateFormatter()
            let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
            let text = formatter.string(from: Date(timeIntervalSince1970: TimeInterval(seconds)))
            return text.dropLast() + "." + String(format: "%09d", rest) + "Z"
        }
    }

    private struct Vertex: Encodable {
        var digest: String
        var inputs: [String]?
        var name: String
        var started: String?
        var completed: String?
        var cached: Bool?
        var error: String?
    }

    private struct Status: Encodable {
        var id: String
        var vertex: String
        var name: String?
        var total: Int64?
        var current: Int64
        var timestamp: String
        var started: String?
        var completed: String?
    }

    private struct Log: Encodable {
        var vertex: String
        var stream: Int64
        var data: Data
        var timestamp: String
    }

    private struct Warning: Encodable {
        var vertex: String
        var level: Int64
        var short: Data
        var detail: [Data]
        var url: String?
    }
}
