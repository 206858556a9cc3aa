internal import CacheMap
internal import ClusterModel
internal import LLB
internal import OCI

/// What became of look-ups and runs.
extension Solver {
    mutating func sourceKeyed(_ id: VertexID, _ key: CacheKey, _ result: VertexResult?) {
        guard live[id]?.state == .identifying else { return }
        live[id]?.definitionKey = key
        live[id]?.key = key
        if let result {
            settle(id, result, result.holders.first.map { .executed(on: $0) })
        } else {
            let ignoresCache = live[id]?.ignoresCache == true
            live[id]?.state = ignoresCache ? .awaitingInputs : .keyed
            queue.append(id)
            wakeConsumers(of: id)
        }
    }

    mutating func lookedUp(_ id: VertexID, _ key: CacheKey, _ record: FoundRecord?) {
        guard let vertex = live[id], vertex.state == .lookingUp(key) else { return }
        if let record {
            live[id]?.key = record.canonicalKey
            if let definitionKey = vertex.definitionKey, definitionKey != key {
                effects.append(.alias(definitionKey, canonicalKey: record.canonicalKey, record.result))
            }
            settle(id, record.result, record.result.holders.first.map { .cached(at: $0) })
            return
        }
        let mayHitByContent = vertex.dependsOnContent && vertex.key == nil
        live[id]?.state = mayHitByContent ? .awaitingContent : vertex.isResultWanted ? .awaitingInputs : .keyed
        queue.append(id)
        if mayHitByContent { startBranches(below: id) }
    }

    /// Demands the inputs of a vertex that missed by definition, and of everything wanted that waits for its key.
    ///
    /// Keys below are made of keys above: an input that never ran makes every key below it miss, so it has to run
    /// whatever the content of the others turns out to be; one that did run costs a look-up. Without this, the branches
    /// of a build would run one after the other, each waiting for the content of the one before.
    mutating func startBranches(below id: VertexID) {
        var stack = [id]
        var seen: Set<VertexID> = []
        while let next = stack.popLast() {
            guard seen.insert(next).inserted, let vertex = live[next], vertex.isKeyWanted || vertex.isResultWanted
            else {
                continue
            }
            guard next == id || vertex.state == .idle else { continue }
            for input in vertex.inputs where !seen.contains(input.vertex) { demandResult(input.vertex) }
            stack += vertex.consumers
        }
    }

    mutating func finished(_ id: VertexID, _ result: VertexResult, _ outcome: VertexOutcome) {
        guard case .running = live[id]?.state else { return }
        if let segment = live[id]?.segment {
            switch outcome {
            // The rest of the segment follows its root file system.
            case .executed(let node), .merged(let node), .cached(let node): segmentNodes[segment] = node
            }
        }
        settle(id, result, outcome)
    }

    /// The vertex has its result: tell its consumers, its builds and the clients.
    mutating func settle(_ id: VertexID, _ result: VertexResult, _ outcome: VertexOutcome?) {
        live[id]?.result = result
        live[id]?.state = .done
        live[id]?.isReported = true
        if let outcome { effects.append(.completed(id, outcome, ancestors: unreportedAncestors(of: id))) }
        wakeConsumers(of: id)
        fulfil(id)
    }

    /// Vertices above that nobody needed for this result.
    mutating func unreportedAncestors(of id: VertexID) -> [VertexID] {
        var found: [VertexID] = []
        var stack = live[id]?.inputs.map(\.vertex) ?? []
        while let next = stack.popLast() {
            guard let vertex = live[next], !vertex.isReported else { continue }
            guard !vertex.isResultWanted else { continue }
            live[next]?.isReported = true
            found.append(next)
            stack += vertex.inputs.map(\.vertex)
        }
        return found.reversed()
    }

    mutating func fulfil(_ id: VertexID) {
        guard let result = live[id]?.result else { return }
        let ready = targets.filter { $0.edge.vertex == id }
        targets.removeAll { $0.edge.vertex == id }
        for target in ready {
            guard let chain = chain(of: target.edge, in: result) else {
                effects.append(.buildFailed(build: target.build, id, noOutput(target.edge)))
                continue
            }
            let input = Assignment.Input(chain: chain, holders: result.holders)
            effects.append(.fulfilled(build: target.build, target.requested, input))
        }
    }

    func chain(of edge: LiveEdge, in result: VertexResult) -> LayerChain? {
        result.outputs.indices.contains(edge.output) ? result.outputs[edge.output] : nil
    }

    func noOutput(_ edge: LiveEdge) -> VertexFailure {
        VertexFailure("invalid LLB: op \(edge.vertex.digest) has no output \(edge.output)")
    }

    mutating func fail(_ id: VertexID, _ failure: VertexFailure) {
        guard let vertex = live[id], vertex.state != .done else { return }
        if case .failed = vertex.state { return }
        live[id]?.state = .failed(failure)
        effects.append(.vertexFailed(id, failure))
        for build in vertex.builds where !failedBuilds.contains(build) {
            failedBuilds.append(build)
            effects.append(.buildFailed(build: build, id, failure))
        }
    }
}
