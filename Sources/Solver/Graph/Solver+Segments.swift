package import ClusterModel
internal import LLB

extension Solver {
    /// The segment that a vertex goes on with: that of the vertex whose result it grows from, if nobody else takes it.
    func segmentToJoin(_ vertex: LiveVertex) -> SegmentID? {
        guard let primary = vertex.primaryInput, let parent = live[primary.vertex], parent.consumers == [vertex.id]
        else {
            return nil
        }
        return parent.segment
    }

    /// The vertices from `id` to the end of its segment: each the only consumer of the one before, and grown from it.
    func restOfSegment(from id: VertexID) -> [VertexID] {
        var run = [id]
        var current = id
        while let consumers = live[current]?.consumers, consumers.count == 1, let next = live[consumers[0]],
            next.primaryInput?.vertex == current
        {
            run.append(next.id)
            current = next.id
        }
        return run
    }

    /// A tree that a vertex will read, and what of it; without selections it is all.
    package typealias Reading = (input: Assignment.Input, selections: [ContentSelection]?)

    /// The results that a vertex reads beside its primary input and that exist.
    package func sideReadings(of id: VertexID) -> [Reading] { sideReadings(of: id) { _ in true } }

    private func sideReadings(of id: VertexID, _ isMeant: (LiveEdge) -> Bool) -> [Reading] {
        guard let vertex = live[id] else { return [] }
        let reads = InputDependency.reads(of: vertex.vertex.operation, inputs: vertex.inputs.count)
        let primary = vertex.primaryInput
        return zip(vertex.inputs, reads).compactMap { edge, selections in
            guard edge != primary, isMeant(edge), let input = available(edge) else { return nil }
            return (input, selections)
        }
    }

    /// Where the result of `id` will be read once what runs there now is over: it may come early.
    package func awaitedReadings(of id: VertexID) -> [(node: PeerID, reading: Reading)] {
        (live[id]?.consumers ?? []).flatMap { consumer in
            guard let node = nodeRunningBefore(consumer, otherThan: id) else { return [(PeerID, Reading)]() }
            return sideReadings(of: consumer) { $0.vertex == id }.map { (node, $0) }
        }
    }

    /// The node that runs a vertex from which this one grows without a branch.
    private func nodeRunningBefore(_ id: VertexID, otherThan side: VertexID) -> PeerID? {
        var current = id
        while let primary = live[current]?.primaryInput?.vertex, primary != side, let parent = live[primary],
            parent.consumers == [current]
        {
            if case .running(let node) = parent.state { return node }
            guard parent.result == nil else { return nil }
            current = primary
        }
        return nil
    }

    /// Results that somebody will come for: inputs of vertices that are wanted and not done, and the ends of graphs.
    package var awaitedResults: [VertexResult] {
        order.compactMap { id in
            guard let vertex = live[id], let result = vertex.result else { return nil }
            let isAwaited = vertex.consumers.contains { consumer in
                guard let consumer = live[consumer], consumer.isResultWanted || consumer.isKeyWanted else {
                    return false
                }
                if case .failed = consumer.state { return false }
                return consumer.state != .done
            }
            return vertex.consumers.isEmpty || isAwaited ? result : nil
        }
    }
}
