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
}
