internal import CacheMap
internal import ClusterModel
internal import LLB
internal import OCI

/// Nodes, inputs and executors that are gone.
extension Solver {
    mutating func lost(_ id: VertexID, on node: PeerID) {
        // Word of an earlier try may come when the vertex runs elsewhere already.
        guard live[id]?.state == .running(on: node) else { return }
        live[id]?.excluded.append(node)
        if let segment = live[id]?.segment, segmentNodes[segment] == node { segmentNodes[segment] = nil }
        guard let excluded = live[id]?.excluded, excluded.count < Self.executorsLostMax else {
            fail(
                id,
                VertexFailure("the step lost \(Self.executorsLostMax) executors in a row; look at those nodes' logs"))
            return
        }
        live[id]?.state = .awaitingInputs
        queue.append(id)
    }

    mutating func nodeLost(_ node: PeerID) {
        for segment in segmentNodes.keys.sorted() where segmentNodes[segment] == node { segmentNodes[segment] = nil }
        for id in order {
            if live[id]?.state == .running(on: node) {
                effects.append(.cancel(id))
                lost(id, on: node)
            }
            guard live[id]?.result?.holders.contains(node) == true else { continue }
            live[id]?.result?.holders.removeAll { $0 == node }
            if live[id]?.result?.holders.isEmpty == true { forgetResult(of: id) }
        }
    }

    mutating func inputLost(_ id: VertexID, _ input: Int) {
        // The number may come from another node.
        guard let vertex = live[id], vertex.inputs.indices.contains(input) else { return }
        let edge = vertex.inputs[input]
        switch vertex.state {
        case .running: live[id]?.state = .awaitingInputs
        case .digesting: live[id]?.state = .awaitingContent
        default: return
        }
        forgetResult(of: edge.vertex)
        queue.append(id)
    }

    /// Its layers are gone everywhere: whoever still needs them makes them anew.
    mutating func forgetResult(of id: VertexID) {
        guard live[id]?.state == .done else { return }
        restart(id)
        queue += live[id]?.consumers ?? []
    }

    mutating func restart(_ id: VertexID) {
        guard let vertex = live[id] else { return }
        live[id]?.result = nil
        live[id]?.isResultWanted = false
        live[id]?.isReported = false
        let fresh: LiveVertex.State = vertex.ignoresCache ? .awaitingInputs : .keyed
        live[id]?.state = vertex.key == nil || vertex.isSource ? .idle : fresh
        // Whoever waits for its key asked once and does not ask again.
        if vertex.key == nil { queue.append(id) }
        if targets.contains(where: { $0.edge.vertex == id }) { demandResult(id) }
    }
}
