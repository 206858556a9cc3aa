package import OCI

/// One op of a definition, with the exact bytes that its digest is taken over.
package struct Vertex: Sendable {
    package let digest: Digest
    /// The marshalled op as received: re-encoding would change its digest.
    package let bytes: [UInt8]
    package let operation: Pb_Op
    package let inputs: [Edge]
    package let metadata: Pb_OpMetadata

    package init(digest: Digest, bytes: [UInt8], operation: Pb_Op, inputs: [Edge], metadata: Pb_OpMetadata) {
        self.digest = digest
        self.bytes = bytes
        self.operation = operation
        self.inputs = inputs
        self.metadata = metadata
    }

    /// What clients show: the custom name, else a name derived from the op.
    package var name: String {
        metadata.description_p["llb.customname"] ?? Self.derivedName(of: operation)
    }

    /// The name of an op that nobody named (fact: BuildKit's clients expect these forms).
    package static func derivedName(of operation: Pb_Op) -> String {
        switch operation.op {
        case .source(let source): source.identifier
        case .exec(let exec): exec.meta.args.joined(separator: " ")
        case .file(let file): file.actions.map(Self.name(of:)).joined(separator: ", ")
        case .merge(let merge): "merge (" + merge.inputs.map { "\($0.input)" }.joined(separator: ", ") + ")"
        case .diff(let diff): "diff \(Self.name(ofInput: diff.lower.input)) -> \(Self.name(ofInput: diff.upper.input))"
        case .build: "build"
        case .passthrough(let passthrough): passthrough.id
        case nil: ""
        }
    }

    private static func name(ofInput index: Int64) -> String { index < 0 ? "scratch" : "\(index)" }

    private static func name(of action: Pb_FileAction) -> String {
        switch action.action {
        case .copy(let copy): "copy \(copy.src) \(copy.dest)"
        case .mkfile(let file): "mkfile \(file.path)"
        case .mkdir(let directory): "mkdir \(directory.path)"
        case .rm(let removal): "rm \(removal.path)"
        case .symlink(let link): "symlink \(link.oldpath) -> \(link.newpath)"
        case nil: ""
        }
    }
}
