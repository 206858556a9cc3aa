internal import FoundationEssentials
package import OCI
internal import SwiftProtobuf

/// Builds LLB graphs and marshals them as BuildKit's clients do.
///
/// Vertices are numbered in the order in which they are added, so inputs precede users and two runs of the same calls
/// give the same bytes. Encoding happens in `definition(of:)`; until then a source vertex may still be amended, which
/// the build context needs: the paths that it must hold are known only when every instruction was seen.
package struct DefinitionBuilder: Sendable {
    /// One output of a vertex of this builder.
    package struct Edge: Hashable, Sendable {
        /// Number of the vertex in its builder.
        package let vertex: Int
        package let output: Int64
    }

    private enum Body: Sendable {
        case op(Pb_Op.OneOf_Op, Platform?)
        /// An op that came encoded: it keeps its bytes, and so its digest.
        case encoded([UInt8])
    }

    private struct Vertex: Sendable {
        var body: Body
        var inputs: [Edge]
        var metadata: Pb_OpMetadata
        var locations: [Pb_Location]
    }

    private var vertices: [Vertex] = []
    private var infos: [Pb_SourceInfo] = []

    package init() {}

    /// Registers a source file; the number is what locations refer to.
    package mutating func addSourceFile(_ info: Pb_SourceInfo) -> Int32 {
        infos.append(info)
        return Int32(infos.count - 1)
    }

    /// Adds an op.
    ///
    /// `platform` must be nil where BuildKit leaves it out: file, merge, diff and most sources.
    package mutating func add(
        _ op: Pb_Op.OneOf_Op, inputs: [Edge] = [], platform: Platform? = nil, metadata: Pb_OpMetadata = Pb_OpMetadata(),
        locations: [Pb_Location] = []
    ) -> Edge {
        vertices.append(Vertex(body: .op(op, platform), inputs: inputs, metadata: metadata, locations: locations))
        return Edge(vertex: vertices.count - 1, output: 0)
    }

    /// Changes the attributes of a source vertex of this builder; other vertices are left as they are.
    package mutating func amendSource(_ edge: Edge, _ change: (inout [String: String]) -> Void) {
        guard case .op(.source(var source), let platform) = vertices[edge.vertex].body else { return }
        change(&source.attrs)
        vertices[edge.vertex].body = .op(.source(source), platform)
    }

    /// Takes over a graph that someone else built, byte for byte.
    ///
    /// Nil is scratch.
    package mutating func add(_ definition: Pb_Definition) throws(DefinitionBuilderError) -> Edge? {
        guard let last = definition.def.last else { return nil }
        var edges: [String: Int] = [:]
        for bytes in definition.def.dropLast() {
            let raw = [UInt8](bytes)
            let op = try Self.decode(raw)
            let digest = Digest.of(raw).description
            var inputs: [Edge] = []
            for input in op.inputs { inputs.append(try Self.edge(of: input, in: edges)) }
            vertices.append(
                Vertex(
                    body: .encoded(raw), inputs: inputs, metadata: definition.metadata[digest] ?? Pb_OpMetadata(),
                    locations: []))
            edges[digest] = vertices.count - 1
        }
        let terminal = try Self.decode([UInt8](last))
        guard terminal.op == nil, terminal.inputs.count == 1 else { throw .malformedTerminal(terminal.inputs.count) }
        return try Self.edge(of: terminal.inputs[0], in: edges)
    }

    private static func edge(
        of input: Pb_Input, in edges: [String: Int]
    ) throws(DefinitionBuilderError) -> Edge {
        guard let vertex = edges[input.digest], input.index >= 0 else { throw .unknownInput(input.digest) }
        return Edge(vertex: vertex, output: input.index)
    }

    /// Reads one encoded op.
    package static func decode(_ bytes: [UInt8]) throws(DefinitionBuilderError) -> Pb_Op {
        do { return try Pb_Op(serializedBytes: bytes) } catch { throw .undecodable("\(error)") }
    }

    /// Marshals what `edge` needs, inputs first, with a terminal op at the end.
    ///
    /// Nil, scratch, is the empty definition.
    package func definition(of edge: Edge?) throws(DefinitionBuilderError) -> Pb_Definition {
        var result = Pb_Definition()
        guard let edge else { return result }
        let needed = reachable(from: edge)
        var digests: [Int: String] = [:]
        var source = Pb_Source()
        source.infos = infos
        for index in vertices.indices where needed[index] {
            let vertex = vertices[index]
            let bytes = try encode(vertex, digests: digests)
            let digest = Digest.of(bytes).description
            digests[index] = digest
            // Equal ops are one vertex; the first one's metadata and all locations stay.
            if result.metadata[digest] == nil {
                result.def.append(Data(bytes))
                result.metadata[digest] = described(vertex)
            }
            source.locations[digest, default: Pb_Locations()].locations += vertex.locations
        }
        let terminal = try encodeTerminal(edge, digests: digests)
        result.def.append(Data(terminal))
        var metadata = Pb_OpMetadata()
        metadata.caps = [LLBCapability.constraints: true, LLBCapability.platform: true]
        result.metadata[Digest.of(terminal).description] = metadata
        result.source = source
        return result
    }

    /// The digest that the vertex of `edge` has in a definition.
    package func digest(of edge: Edge) throws(DefinitionBuilderError) -> Digest {
        let needed = reachable(from: edge)
        var digests: [Int: String] = [:]
        var last = Digest.of([])
        for index in vertices.indices where needed[index] {
            last = Digest.of(try encode(vertices[index], digests: digests))
            digests[index] = last.description
        }
        return last
    }

    private func reachable(from edge: Edge) -> [Bool] {
        var needed = [Bool](repeating: false, count: vertices.count)
        needed[edge.vertex] = true
        // Inputs have smaller numbers than their users: one walk backwards sees all.
        for index in vertices.indices.reversed() where needed[index] {
            for input in vertices[index].inputs { needed[input.vertex] = true }
        }
        return needed
    }

    private func described(_ vertex: Vertex) -> Pb_OpMetadata {
        var metadata = vertex.metadata
        if case .op(let op, _) = vertex.body {
            for name in LLBCapability.needed(by: op, metadata: metadata) { metadata.caps[name] = true }
        }
        return metadata
    }

    private func encode(_ vertex: Vertex, digests: [Int: String]) throws(DefinitionBuilderError) -> [UInt8] {
        switch vertex.body {
        case .encoded(let bytes): return bytes
        case .op(let body, let platform):
            var frame = Pb_Op()
            frame.inputs = vertex.inputs.map { input($0, digests: digests) }
            if let platform { frame.platform = Self.message(platform) }
            frame.constraints = Pb_WorkerConstraints()
            var core = Pb_Op()
            core.op = body
            // Go's deterministic encoder writes members of a oneof after all other fields; so do we, that equal ops
            // have equal digests whoever made them.
            return try Self.serialize(frame) + Self.serialize(core)
        }
    }

    private func encodeTerminal(_ edge: Edge, digests: [Int: String]) throws(DefinitionBuilderError) -> [UInt8] {
        var terminal = Pb_Op()
        terminal.inputs = [input(edge, digests: digests)]
        return try Self.serialize(terminal)
    }

    private func input(_ edge: Edge, digests: [Int: String]) -> Pb_Input {
        var input = Pb_Input()
        input.digest = digests[edge.vertex] ?? ""
        input.index = edge.output
        return input
    }

    private static func message(_ platform: Platform) -> Pb_Platform {
        var message = Pb_Platform()
        message.os = platform.os
        message.architecture = platform.architecture
        message.variant = platform.variant ?? ""
        message.osversion = platform.osVersion ?? ""
        message.osfeatures = platform.osFeatures ?? []
        return message
    }

    private static func serialize(_ op: Pb_Op) throws(DefinitionBuilderError) -> [UInt8] {
        var options = BinaryEncodingOptions()
        options.useDeterministicOrdering = true
        do { return try op.serializedBytes(options: options) } catch { throw .unencodable("\(error)") }
    }
}
