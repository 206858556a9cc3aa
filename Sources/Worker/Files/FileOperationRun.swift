internal import ClusterModel
internal import Glibc
internal import LLB
internal import Snapshots

/// One execution of a file op.
///
/// A result that only the next action in line changes stays mounted between the two.
final class FileOperationRun {
    private enum Result {
        case work(WorkSnapshot)
        case chain(LayerChain)
        /// Taken over by the only action that wanted it.
        case consumed
    }

    private let op: Pb_FileOp
    private let inputs: [LayerChain]
    private let snapshots: SnapshotStore
    /// By action; how often each result is used, an output counts too.
    private var results: [Result] = []
    private var uses: [Int]
    private var open: [WorkSnapshot] = []

    private static let outputsMax = 1024

    init(_ op: Pb_FileOp, inputs: [LayerChain], snapshots: SnapshotStore) throws(OperationError) {
        guard !op.actions.isEmpty else { throw .invalid("a file op needs at least one action") }
        self.op = op
        self.inputs = inputs
        self.snapshots = snapshots
        uses = Array(repeating: 0, count: op.actions.count)
        for (number, action) in op.actions.enumerated() {
            for index in Self.references(action) {
                guard index < Int64(inputs.count + number) else {
                    throw .invalid(
                        "file action \(number): input \(index) is out of range; there are \(inputs.count + number)")
                }
                if index >= Int64(inputs.count) { uses[Int(index) - inputs.count] += 1 }
            }
            guard action.output < Self.outputsMax else {
                throw .invalid("file action \(number): output \(action.output) is above \(Self.outputsMax - 1)")
            }
            if action.output >= 0 { uses[number] += 1 }
        }
    }

    /// The indexes that an action refers to.
    private static func references(_ action: Pb_FileAction) -> [Int64] {
        var indexes = [action.input]
        let owner: Pb_ChownOpt
        switch action.action {
        case .copy(let copy):
            indexes.append(action.secondaryInput)
            owner = copy.owner
        case .mkfile(let file): owner = file.owner
        case .mkdir(let directory): owner = directory.owner
        case .symlink(let link): owner = link.owner
        case .rm, nil: return indexes
        }
        for option in [owner.user, owner.group] {
            if case .byName(let named)? = option.user { indexes.append(named.input) }
        }
        return indexes
    }

    func execute() throws -> [LayerChain?] {
        var outputs: [LayerChain?] = []
        for (number, action) in op.actions.enumerated() {
            let work = try writable(action.input)
            try perform(action, in: work)
            results.append(.work(work))
            guard action.output >= 0 else { continue }
            while outputs.count <= Int(action.output) { outputs.append(nil) }
            outputs[Int(action.output)] = try commit(number)
        }
        return outputs
    }

    /// Throws away what is still mounted.
    func release() {
        for work in open { snapshots.discard(work) }
        open = []
    }

    private func perform(_ action: Pb_FileAction, in work: WorkSnapshot) throws {
        let tree = FileActions(tree: try RootedTree(work.path))
        switch action.action {
        case .mkfile(let file): try tree.makeFile(file, owner: try owner(file.hasOwner ? file.owner : nil, work))
        case .mkdir(let directory):
            try tree.makeDirectory(directory, owner: try owner(directory.hasOwner ? directory.owner : nil, work))
        case .symlink(let link): try tree.makeLink(link, owner: try owner(link.hasOwner ? link.owner : nil, work))
        case .rm(let removal): try tree.remove(removal)
        case .copy(let copy):
            let owner = try owner(copy.hasOwner ? copy.owner : nil, work)
            try withTree(action.secondaryInput) { source in try tree.copy(copy, from: source, owner: owner) }
        case nil: throw OperationError.unsupported("a file action is of a kind that this version does not know")
        }
    }

    /// A mounted tree that an action may change.
    private func writable(_ index: Int64) throws -> WorkSnapshot {
        if index >= Int64(inputs.count) {
            let number = Int(index) - inputs.count
            if uses[number] == 1, case .work(let work) = results[number] {
                results[number] = .consumed
                return work
            }
        }
        let work = try snapshots.prepare(over: try chain(index))
        open.append(work)
        return work
    }

    /// An input, or the committed result of an earlier action.
    private func chain(_ index: Int64) throws -> LayerChain {
        guard index >= 0 else { return .scratch }
        guard index >= Int64(inputs.count) else { return inputs[Int(index)] }
        return try commit(Int(index) - inputs.count)
    }

    private func commit(_ number: Int) throws -> LayerChain {
        switch results[number] {
        case .chain(let chain): return chain
        case .consumed: preconditionFailure("the result of file action \(number) was taken over but is used again")
        case .work(let work):
            open.removeAll { $0 === work }
            let chain = work.chain.appending(try snapshots.commit(work) ?? snapshots.emptyLayer())
            results[number] = .chain(chain)
            return chain
        }
    }

    private func withTree<Value>(_ index: Int64, _ body: (RootedTree) throws -> Value) throws -> Value {
        let view = try snapshots.view(of: try chain(index))
        defer { view.release() }
        return try body(try RootedTree(view.path))
    }

    /// Resolves who owns what is made: names by the accounts of the input that the op gives.
    private func owner(_ option: Pb_ChownOpt?, _ work: WorkSnapshot) throws -> FileActions.Owner? {
        guard let option, option.hasUser || option.hasGroup else { return nil }
        var owner: FileActions.Owner = (0, 0)
        switch option.user.user {
        case .byID(let id)?: owner = (id, id)
        case .byName(let named)?:
            guard let user = try withTree(named.input, { try Accounts(of: $0).user(named: named.name) }) else {
                throw OperationError.userNotFound(named.name)
            }
            owner = (user.uid, user.gid)
        case nil: break
        }
        switch option.group.user {
        case .byID(let id)?: owner.gid = id
        case .byName(let named)?:
            guard let group = try withTree(named.input, { try Accounts(of: $0).group(named: named.name) }) else {
                throw OperationError.groupNotFound(named.name)
            }
            owner.gid = group
        case nil: break
        }
        return owner
    }
}
