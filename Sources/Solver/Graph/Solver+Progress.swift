internal import CacheMap
internal import ClusterModel
internal import LLB
internal import OCI

/// One vertex, one step further: keys, look-ups, content, run.
extension Solver {
    mutating func demandKey(_ id: VertexID) {
        guard live[id]?.isKeyWanted == false, live[id]?.key == nil else { return }
        live[id]?.isKeyWanted = true
        queue.append(id)
    }

    mutating func demandResult(_ id: VertexID) {
        guard live[id]?.isResultWanted == false, live[id]?.result == nil else { return }
        live[id]?.isResultWanted = true
        queue.append(id)
    }

    mutating func wakeConsumers(of id: VertexID) {
        queue += live[id]?.consumers ?? []
    }

    mutating func step(_ id: VertexID) {
        guard let vertex = live[id], vertex.isKeyWanted || vertex.isResultWanted else { return }
        switch vertex.state {
        case .idle: identify(vertex)
        case .awaitingContent: digestContent(of: vertex)
        case .digesting: keyByContent(vertex)
        case .keyed:
            guard vertex.isResultWanted, let key = vertex.key else { return }
            lookUp(id, key)
        case .awaitingInputs: runIfReady(vertex)
        case .identifying, .lookingUp, .running, .done, .failed: break
        }
    }

    mutating func identify(_ vertex: LiveVertex) {
        let id = vertex.id
        guard !vertex.isSource else {
            live[id]?.state = .identifying
            effects.append(.keySource(id))
            return
        }
        guard let terms = definitionTerms(of: vertex) else {
            for input in vertex.inputs { demandKey(input.vertex) }
            return
        }
        let key = CacheKeyAlgebra.definitionKey(of: vertex.vertex, inputs: terms)
        live[id]?.definitionKey = key
        if !vertex.dependsOnContent {
            live[id]?.key = key
            wakeConsumers(of: id)
        }
        if vertex.ignoresCache {
            live[id]?.state = vertex.dependsOnContent ? .awaitingContent : .awaitingInputs
            queue.append(id)
        } else if vertex.dependsOnContent || vertex.isResultWanted {
            lookUp(id, key)
        } else {
            live[id]?.state = .keyed
        }
    }

    mutating func lookUp(_ id: VertexID, _ key: CacheKey) {
        live[id]?.state = .lookingUp(key)
        effects.append(.lookUp(id, key: key))
    }

    /// The terms of the definition key; nil while an input's key is not known.
    func definitionTerms(of vertex: LiveVertex) -> [CacheKeyAlgebra.InputTerm]? {
        var terms: [CacheKeyAlgebra.InputTerm] = []
        for input in vertex.inputs {
            guard let key = live[input.vertex]?.key else { return nil }
            terms.append(.key(key, output: input.output))
        }
        return terms
    }

    mutating func digestContent(of vertex: LiveVertex) {
        var found: [(Int, Assignment.Input, [ContentSelection])] = []
        for (index, dependency) in vertex.dependencies.enumerated() {
            guard case .content(let selections) = dependency else { continue }
            guard let input = available(vertex.inputs[index]) else {
                demandResult(vertex.inputs[index].vertex)
                continue
            }
            found.append((index, input, selections))
        }
        let wanted = vertex.dependencies.count { if case .content = $0 { true } else { false } }
        guard found.count == wanted else { return }
        live[vertex.id]?.state = .digesting
        live[vertex.id]?.contentDigests = [:]
        effects += found.map { .digestContent(vertex.id, input: $0.0, $0.1, $0.2) }
    }

    mutating func keyByContent(_ vertex: LiveVertex) {
        var terms: [CacheKeyAlgebra.InputTerm] = []
        for (index, dependency) in vertex.dependencies.enumerated() {
            if case .content = dependency {
                guard let digest = vertex.contentDigests[index] else { return }
                terms.append(.content(digest))
            } else {
                guard let key = live[vertex.inputs[index].vertex]?.key else { return }
                terms.append(.key(key, output: vertex.inputs[index].output))
            }
        }
        let key = CacheKeyAlgebra.contentKey(of: vertex.vertex, inputs: terms)
        live[vertex.id]?.key = key
        wakeConsumers(of: vertex.id)
        if vertex.ignoresCache {
            live[vertex.id]?.state = .awaitingInputs
            queue.append(vertex.id)
        } else if vertex.isResultWanted {
            lookUp(vertex.id, key)
        } else {
            live[vertex.id]?.state = .keyed
        }
    }

    func available(_ edge: LiveEdge) -> Assignment.Input? {
        guard let result = live[edge.vertex]?.result, let chain = chain(of: edge, in: result) else { return nil }
        return Assignment.Input(chain: chain, holders: result.holders)
    }

    mutating func runIfReady(_ vertex: LiveVertex) {
        guard vertex.isResultWanted, let key = vertex.key else { return }
        var inputs: [Assignment.Input] = []
        for edge in vertex.inputs {
            if let result = live[edge.vertex]?.result, chain(of: edge, in: result) == nil {
                fail(vertex.id, noOutput(edge))
                return
            }
            guard let input = available(edge) else {
                demandResult(edge.vertex)
                continue
            }
            inputs.append(input)
        }
        guard inputs.count == vertex.inputs.count else { return }
        let segment = vertex.segment ?? segmentToJoin(vertex) ?? newSegment()
        live[vertex.id]?.segment = segment
        live[vertex.id]?.state = .running(on: nil)
        let rest = restOfSegment(from: vertex.id)
        let aliases = vertex.definitionKey.map { $0 == key ? [] : [$0] } ?? []
        effects.append(
            .run(
                Assignment(
                    vertex: vertex.id, segment: segment, key: key, aliases: aliases, inputs: inputs,
                    node: segmentNodes[segment], excluded: vertex.excluded, rest: rest,
                    sideInputs: rest.dropFirst().flatMap { sideInputs(of: $0) }, ignoresCache: vertex.ignoresCache)))
    }

    mutating func newSegment() -> SegmentID {
        segmentCount += 1
        return SegmentID(number: segmentCount)
    }

    func sideInputs(of id: VertexID) -> [Assignment.Input] {
        guard let vertex = live[id] else { return [] }
        let primary = vertex.primaryInput
        return vertex.inputs.filter { $0 != primary }.compactMap(available)
    }
}
