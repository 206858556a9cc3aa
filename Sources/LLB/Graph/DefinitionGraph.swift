package import OCI
internal import SwiftProtobuf

/// A definition after its checks: vertices in topological order and the edge that it is for.
package struct DefinitionGraph: Sendable {
    /// Most ops in one definition; bounds what a client makes a node hold.
    package static let verticesMax = 100_000

    /// Inputs before their users, as received.
    package let vertices: [Vertex]
    /// What the definition results in; nil for the empty definition, which is scratch.
    package let target: Edge?
    /// Where each vertex came from in the source files.
    package let source: Pb_Source

    private let positions: [Digest: Int]

    package func vertex(_ digest: Digest) -> Vertex? { positions[digest].map { vertices[$0] } }

    /// Decodes and checks a definition.
    ///
    /// Digests are taken over the received bytes.
    package init(_ definition: Pb_Definition) throws(DefinitionError) {
        source = definition.source
        guard !definition.def.isEmpty else {
            vertices = []
            positions = [:]
            target = nil
            return
        }
        guard definition.def.count >= 2 else { throw .invalid("invalid LLB with \(definition.def.count) vertexes") }
        guard definition.def.count <= Self.verticesMax else {
            throw .invalid("invalid LLB with \(definition.def.count) vertexes: at most \(Self.verticesMax) are allowed")
        }
        var vertices: [Vertex] = []
        var positions: [Digest: Int] = [:]
        for bytes in definition.def.dropLast() {
            let vertex = try Self.decode([UInt8](bytes), metadata: definition.metadata)
            for input in vertex.inputs where positions[input.vertex] == nil {
                throw .invalid("invalid LLB: op \(vertex.digest) has the unknown input \(input.vertex)")
            }
            guard positions[vertex.digest] == nil else { continue }
            try OperationCheck.check(vertex)
            positions[vertex.digest] = vertices.count
            vertices.append(vertex)
        }
        let terminal = try Self.decode([UInt8](definition.def[definition.def.count - 1]), metadata: [:])
        guard terminal.operation.op == nil, terminal.inputs.count == 1, let target = terminal.inputs.first else {
            throw .invalid("invalid LLB: the last op must have one input and no operation")
        }
        guard positions[target.vertex] != nil else {
            throw .invalid("invalid LLB: the result \(target.vertex) is not among the ops")
        }
        self.vertices = vertices
        self.positions = positions
        self.target = target
    }

    private static func decode(
        _ bytes: [UInt8], metadata: [String: Pb_OpMetadata]
    ) throws(DefinitionError) -> Vertex {
        let digest = Digest.of(bytes)
        let operation: Pb_Op
        do {
            operation = try Pb_Op(serializedBytes: bytes)
        } catch {
            throw .invalid("invalid LLB: op \(digest) cannot be decoded: \(error)")
        }
        var inputs: [Edge] = []
        for input in operation.inputs {
            guard let from = Digest(input.digest) else {
                throw .invalid("invalid LLB: op \(digest) has the input \"\(input.digest)\", which is no sha256 digest")
            }
            guard input.index >= 0, let index = Int(exactly: input.index) else {
                throw .invalid("invalid LLB: op \(digest) takes output \(input.index) of \(from)")
            }
            inputs.append(Edge(vertex: from, output: index))
        }
        return Vertex(
            digest: digest, bytes: bytes, operation: operation, inputs: inputs,
            metadata: metadata[digest.description] ?? Pb_OpMetadata())
    }

    /// The places in source files that `vertex` came from.
    package func locations(of vertex: Digest) -> [(info: Pb_SourceInfo, ranges: [Pb_Range])] {
        guard let found = source.locations[vertex.description] else { return [] }
        return found.locations.compactMap { location in
            let index = Int(location.sourceIndex)
            guard source.infos.indices.contains(index), !location.ranges.isEmpty else { return nil }
            return (source.infos[index], location.ranges)
        }
    }
}

/// Why a definition is refused.
package enum DefinitionError: Error, Hashable, CustomStringConvertible {
    case invalid(String)

    package var description: String {
        switch self {
        case .invalid(let why): why
        }
    }
}
