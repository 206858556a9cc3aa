internal import BuildKitProtocol
internal import Foundation
package import GRPCCore
internal import SwiftProtobuf

/// Why a build failed, as the node told it.
package struct BuildFailure: Error, Sendable, CustomStringConvertible {
    /// A place in a source file, with the file's text.
    package struct Source: Sendable, Hashable {
        package var filename: String
        package var text: String
        /// First and last line, counted from 1, both included.
        package var ranges: [ClosedRange<Int>]

        package init(filename: String, text: String, ranges: [ClosedRange<Int>]) {
            self.filename = filename
            self.text = text
            self.ranges = ranges
        }
    }

    package var message: String
    package var sources: [Source]
    package var isCancelled: Bool

    package init(message: String, sources: [Source] = [], isCancelled: Bool = false) {
        self.message = message
        self.sources = sources
        self.isCancelled = isCancelled
    }

    package init(_ error: RPCError) {
        let status = Google_Rpc_Status(error)
        message = status.message.isEmpty ? error.message : status.message
        // Builds fail with code Unknown; any other one says something of its own.
        if error.code != .unknown { message = "\(error.code): \(message)" }
        isCancelled = error.code == .cancelled
        sources = status.details.compactMap { detail in
            guard detail.typeURL.hasSuffix("errdefs.Source+json") else { return nil }
            return (try? JSONDecoder().decode(SourceDetail.self, from: detail.value))?.source
        }
    }

    /// The message and the marked lines of each source, as `docker build` shows them.
    package var description: String {
        sources.map(\.excerpt).joined() + "ERROR: failed to solve: \(message)"
    }

    /// JSON of BuildKit's `errdefs.Source`.
    private struct SourceDetail: Decodable {
        struct Info: Decodable {
            var filename: String?
            var data: Data?
        }
        struct Position: Decodable { var line: Int? }
        struct Span: Decodable {
            var start: Position?
            var end: Position?
        }
        var info: Info?
        var ranges: [Span]?

        var source: Source? {
            guard let data = info?.data else { return nil }
            let ranges = (ranges ?? []).compactMap { span -> ClosedRange<Int>? in
                guard let first = span.start?.line, first > 0 else { return nil }
                return first...max(first, span.end?.line ?? first)
            }
            return Source(
                filename: info?.filename ?? "", text: String(decoding: data, as: UTF8.self), ranges: ranges)
        }
    }
}

extension BuildFailure.Source {
    /// Lines shown before and after the marked ones.
    private static let contextLines = 4
    /// Lines of one excerpt.
    private static let linesMax = 40

    /// The file's name and lines around the ranges; marked ones carry `>>>`.
    package var excerpt: String {
        guard let first = ranges.map(\.lowerBound).min(), let last = ranges.map(\.upperBound).max() else { return "" }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let from = max(1, first - Self.contextLines)
        let to = min(lines.count, last + Self.contextLines, from + Self.linesMax)
        guard from <= to else { return "" }
        let rule = String(repeating: "-", count: 20) + "\n"
        var shown = "\(filename):\(first)\n" + rule
        for number in from...to {
            let mark = ranges.contains { $0.contains(number) } ? ">>> " : "    "
            let padding = String(repeating: " ", count: max(0, 4 - String(number).count))
            shown += "\(padding)\(number) | \(mark)\(lines[number - 1])\n"
        }
        return shown + rule
    }
}

extension Google_Rpc_Status {
    private static let detailsKey = "grpc-status-details-bin"

    /// The status that a call failed with, with its details where the node sent them.
    init(_ error: RPCError) {
        self.init()
        for bytes in error.metadata[binaryValues: Self.detailsKey] {
            if let status = try? Google_Rpc_Status(serializedBytes: Array(bytes)) {
                self = status
                return
            }
        }
        code = Int32(error.code.rawValue)
        message = error.message
    }
}
