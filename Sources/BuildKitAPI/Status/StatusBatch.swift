internal import BuildKitProtocol
internal import FoundationEssentials
internal import OCI
internal import PeerRuntime

/// Puts events that wait together into as few status messages as fit.
enum StatusBatch {
    /// Log bytes in one message; clients take messages of 16 MiB, BuildKit itself keeps to 1 MiB.
    static let logBytesMax = 1 << 20

    /// The messages for `events`, in order.
    ///
    /// Progress that a later event of the batch replaces is left out. A vertex's states are all kept, as a second start
    /// after a completion is an interval of its own.
    static func messages(of events: [BuildEvent]) -> [Moby_Buildkit_V1_StatusResponse] {
        var messages: [Moby_Buildkit_V1_StatusResponse] = []
        var message = Moby_Buildkit_V1_StatusResponse()
        var logBytes = 0
        var places: [StatusKey: Int] = [:]
        func flush() {
            guard message != Moby_Buildkit_V1_StatusResponse() else { return }
            messages.append(message)
            message = .init()
            logBytes = 0
            places = [:]
        }
        for event in events {
            switch event {
            case .vertex(let vertex): message.vertexes.append(StatusMessage.vertex(vertex))
            case .warning(let warning): message.warnings.append(StatusMessage.warning(warning))
            case .status(let status):
                let key = StatusKey(vertex: status.vertex, id: status.id)
                if let place = places[key] {
                    message.statuses[place] = StatusMessage.status(status)
                } else {
                    places[key] = message.statuses.count
                    message.statuses.append(StatusMessage.status(status))
                }
            case .log(let log):
                var rest = log.bytes[...]
                while !rest.isEmpty {
                    if logBytes >= logBytesMax { flush() }
                    let piece = rest.prefix(logBytesMax - logBytes)
                    message.logs.append(StatusMessage.log(log, piece))
                    logBytes += piece.count
                    rest = rest.dropFirst(piece.count)
                }
            }
        }
        flush()
        return messages
    }

    private struct StatusKey: Hashable {
        var vertex: Digest
        var id: String
    }
}
