internal import OCI
internal import PeerRuntime

/// The vertices that have started and not completed, in the order of their start.
struct OpenVertices {
    private var order: [Digest] = []
    private var open: [Digest: VertexProgress] = [:]

    mutating func note(_ event: BuildEvent) {
        guard case .vertex(let vertex) = event else { return }
        if vertex.started != nil, vertex.completed == nil {
            if open.updateValue(vertex, forKey: vertex.digest) == nil { order.append(vertex.digest) }
        } else if open.removeValue(forKey: vertex.digest) != nil {
            order.removeAll { $0 == vertex.digest }
        }
    }

    /// How each of them ends when the build does.
    func cancelled(at time: Int64) -> [BuildEvent] {
        order.compactMap { digest in
            guard var vertex = open[digest] else { return nil }
            vertex.completed = max(time, vertex.started ?? time)
            vertex.error = "context canceled"
            return .vertex(vertex)
        }
    }
}
