/// The checks of one op at load, so that everything behind may rely on its indexes.
enum OperationCheck {
    static func check(_ vertex: Vertex) throws(DefinitionError) {
        let count = Int64(vertex.inputs.count)
        switch vertex.operation.op {
        case .source(let source):
            guard source.identifier.contains("://") else {
                throw refuse(vertex, "source \"\(source.identifier)\" has no scheme")
            }
        case .exec(let exec): try check(exec, of: vertex, inputs: count)
        case .file(let file): try check(file, of: vertex, inputs: count)
        case .merge(let merge):
            guard merge.inputs.allSatisfy({ (0..<count).contains($0.input) }) else {
                throw refuse(vertex, "merge input out of range")
            }
        case .diff(let diff):
            guard diff.hasLower, diff.hasUpper else { throw refuse(vertex, "diff needs a lower and an upper side") }
            guard (-1..<count).contains(diff.lower.input), (-1..<count).contains(diff.upper.input) else {
                throw refuse(vertex, "diff input out of range")
            }
        case .build: throw refuse(vertex, "nested builds are not supported")
        case .passthrough: throw refuse(vertex, "pass-through ops are not supported")
        case nil: throw refuse(vertex, "it has no operation")
        }
    }

    private static func check(_ exec: Pb_ExecOp, of vertex: Vertex, inputs: Int64) throws(DefinitionError) {
        guard exec.hasMeta, !exec.meta.args.isEmpty else { throw refuse(vertex, "exec needs arguments") }
        guard exec.mounts.contains(where: { $0.dest == "/" }) else { throw refuse(vertex, "exec needs a mount at /") }
        for mount in exec.mounts where !(-1..<inputs).contains(mount.input) {
            throw refuse(vertex, "mount at \(mount.dest) takes input \(mount.input) of \(inputs)")
        }
        for mount in exec.mounts where mount.output < -1 || mount.output >= Int64(exec.mounts.count) {
            throw refuse(vertex, "mount at \(mount.dest) has output \(mount.output)")
        }
    }

    private static func check(_ file: Pb_FileOp, of vertex: Vertex, inputs: Int64) throws(DefinitionError) {
        guard !file.actions.isEmpty else { throw refuse(vertex, "file op without actions") }
        for (index, action) in file.actions.enumerated() {
            guard action.action != nil else { throw refuse(vertex, "file action \(index) does nothing") }
            let limit = inputs + Int64(index)
            guard (-1..<limit).contains(action.input), (-1..<limit).contains(action.secondaryInput) else {
                throw refuse(vertex, "file action \(index) takes an input out of range")
            }
            guard action.output >= -1, action.output < Int64(file.actions.count) else {
                throw refuse(vertex, "file action \(index) has output \(action.output)")
            }
        }
    }

    private static func refuse(_ vertex: Vertex, _ why: String) -> DefinitionError {
        .invalid("invalid LLB: op \(vertex.digest): \(why)")
    }
}
