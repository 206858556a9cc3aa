internal import LLB
internal import OCI

extension Pb_OpMetadata {
    /// Metadata with a display name, and the instruction that made the vertex.
    static func named(_ name: String, command: String? = nil, ignoresCache: Bool = false) -> Pb_OpMetadata {
        var metadata = Pb_OpMetadata()
        metadata.description_p["llb.customname"] = name
        if let command { metadata.description_p["com.docker.dockerfile.v1.command"] = command }
        metadata.ignoreCache = ignoresCache
        return metadata
    }
}

/// An action of a file op that copies from another vertex, or makes something.
struct FileStep {
    enum Action {
        case copy(Pb_FileActionCopy, source: DefinitionBuilder.Edge?)
        case makeFile(Pb_FileActionMkFile)
        case makeDirectory(Pb_FileActionMkDir)
    }

    var action: Action

    init(copy: Pb_FileActionCopy, source: DefinitionBuilder.Edge?) { action = .copy(copy, source: source) }
    init(_ file: Pb_FileActionMkFile) { action = .makeFile(file) }
    init(_ directory: Pb_FileActionMkDir) { action = .makeDirectory(directory) }
}

extension DefinitionBuilder {
    mutating func addSource(
        _ identifier: String, _ attributes: [String: String], name: String, platform: Platform? = nil,
        command: String? = nil, locations: [Pb_Location] = []
    ) -> Edge {
        var source = Pb_SourceOp()
        source.identifier = identifier
        source.attrs = attributes
        return add(
            .source(source), platform: platform, metadata: .named(name, command: command), locations: locations)
    }

    mutating func addLocal(
        _ directory: String, name: String, hint: String, sessionID: String, attributes: [String: String]
    ) -> Edge {
        var attributes = attributes
        attributes["local.sharedkeyhint"] = hint
        if !sessionID.isEmpty { attributes["local.session"] = sessionID }
        return addSource("local://" + directory, attributes, name: name)
    }

    /// One file op of chained actions over `base`; only the last has an output.
    mutating func addFile(
        _ steps: [FileStep], over base: Edge?, metadata: Pb_OpMetadata, locations: [Pb_Location] = []
    ) -> Edge {
        var inputs: [Edge] = base.map { [$0] } ?? []
        for step in steps {
            if case .copy(_, let source?) = step.action, !inputs.contains(source) { inputs.append(source) }
        }
        var op = Pb_FileOp()
        for (index, step) in steps.enumerated() {
            var action = Pb_FileAction()
            let baseInput = index > 0 ? Int64(inputs.count + index - 1) : base == nil ? -1 : 0
            action.input = baseInput
            action.secondaryInput = -1
            action.output = index == steps.count - 1 ? 0 : -1
            switch step.action {
            case .copy(var copy, let source):
                action.secondaryInput = source.flatMap { inputs.firstIndex(of: $0) }.map(Int64.init) ?? -1
                if copy.hasOwner { copy.owner.nameInput(baseInput) }
                action.action = .copy(copy)
            case .makeFile(var file):
                if file.hasOwner { file.owner.nameInput(baseInput) }
                action.action = .mkfile(file)
            case .makeDirectory(var directory):
                if directory.hasOwner { directory.owner.nameInput(baseInput) }
                action.action = .mkdir(directory)
            }
            op.actions.append(action)
        }
        return add(.file(op), inputs: inputs, metadata: metadata, locations: locations)
    }
}

extension Pb_ChownOpt {
    /// Reads `user[:group]`; numbers are ids, `root` is 0, other names are looked up in the tree that is written to.
    init(_ text: String) {
        self.init()
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        user = Self.option(parts[0])
        if parts.count == 2 { group = Self.option(parts[1]) }
    }

    private static func option(_ name: String) -> Pb_UserOpt {
        var option = Pb_UserOpt()
        if name == "root" {
            option.byID = 0
        } else if let id = UInt32(name) {
            option.byID = id
        } else {
            option.byName.name = name
        }
        return option
    }

    /// Says which input has the passwd and group files.
    mutating func nameInput(_ input: Int64) {
        if hasUser, case .byName = user.user { user.byName.input = input }
        if hasGroup, case .byName = group.user { group.byName.input = input }
    }
}
