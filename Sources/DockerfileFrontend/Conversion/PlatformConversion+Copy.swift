internal import FoundationEssentials
internal import LLB
internal import OCI
internal import PathPatterns

extension PlatformConversion {
    mutating func dispatchCopy(
        _ written: Instruction.Copy, _ step: StagePlan.Step, _ index: Int
    ) throws(DockerfileError) {
        let instruction = step.instruction
        let copy = try expanded(written, instruction, index)
        let name = shown(instruction.original, index)
        let title = stepName(index, name)
        let template = try template(copy, index)
        try checkChecksum(copy)

        var steps: [FileStep] = []
        var text = copy.isAdd ? "ADD" : "COPY"
        if copy.keepsParents { text += " --parents" }
        if !copy.owner.isEmpty { text += " --chown=" + copy.owner }
        if !copy.mode.isEmpty { text += " --chmod=" + copy.mode }
        for source in copy.sources {
            text += " " + source
            steps.append(try fileStep(source, copy, template, step, title, index))
        }
        for content in copy.contents {
            text += " <<" + content.name
            var file = Pb_FileActionMkFile()
            file.path = SlashPath.rooted(content.name)
            file.mode = 0o644
            file.data = Data(content.data.utf8)
            file.timestamp = -1
            let made = builder.addFile(
                [FileStep(file)], over: nil, metadata: .named("[internal] preparing inline document"))
            var action = template
            action.src = file.path
            steps.append(FileStep(copy: action, source: made))
        }
        text += " " + copy.destination

        let plan = plans[index]
        let places = locations(instruction.lines)
        var metadata = Pb_OpMetadata.named(
            title, command: instruction.original, ignoresCache: plan.ignoresCache)
        if copy.isLinked, copy.mode.isEmpty, let root = plan.root {
            var group = Pb_ProgressGroup()
            // Named by the step, so that the same Dockerfile makes the same bytes.
            group.id = "link:\(index):\(plans[index].stepIndex):" + target.description
            group.name = title
            // The copy joins the step's line on the client's screen, the merge makes it appear.
            group.weak = true
            metadata.progressGroup = group
            let layer = builder.addFile(steps, over: nil, metadata: metadata, locations: places)
            var merge = Pb_MergeOp()
            merge.inputs = [0, 1].map {
                var input = Pb_MergeInput()
                input.input = Int64($0)
                return input
            }
            metadata.progressGroup.weak = false
            metadata.description_p["llb.customname"] = title.replacingLast(name, with: "LINK " + name)
            plans[index].root = builder.add(
                .merge(merge), inputs: [root, layer], metadata: metadata, locations: places)
        } else {
            let base = copy.isLinked && copy.mode.isEmpty ? nil : plan.root
            plans[index].root = builder.addFile(steps, over: base, metadata: metadata, locations: places)
        }
        history(index, text, makesLayer: true, isBuildKitStep: true)
    }

    private mutating func expanded(
        _ written: Instruction.Copy, _ instruction: Instruction, _ index: Int
    ) throws(DockerfileError) -> Instruction.Copy {
        var copy = written
        copy.sources = try written.sources.map { (text) throws(DockerfileError) in
            try expand(text, instruction, index).text
        }
        copy.destination = try expand(written.destination, instruction, index).text
        copy.owner = try expand(written.owner, instruction, index).text
        copy.mode = try expand(written.mode, instruction, index).text
        copy.checksum = try expand(written.checksum, instruction, index).text
        copy.excludes = try written.excludes.map { (text) throws(DockerfileError) in
            try expand(text, instruction, index).text
        }
        let variables = plans[index].environment
        for (place, content) in written.contents.enumerated() where content.expands {
            var options = WordExpander.Options(escape: "\\")
            options.ignoresQuotes = true
            copy.contents[place].data = try WordExpander.expand(content.data, options: options) { variables[$0] }.text
        }
        return copy
    }

    /// What all copies of an instruction have in common.
    private func template(
        _ copy: Instruction.Copy, _ index: Int
    ) throws(DockerfileError) -> Pb_FileActionCopy {
        var action = Pb_FileActionCopy()
        action.dest = SlashPath.resolve(copy.destination, in: plans[index].directory)
        let isDirectory = copy.destination.isEmpty || copy.destination == "." || copy.destination.hasSuffix("/")
        if isDirectory, action.dest != "/" { action.dest += "/" }
        action.mode = -1
        if !copy.mode.isEmpty {
            if let mode = Int32(copy.mode, radix: 8) {
                guard (0...0o7777).contains(mode) else { throw Self.badMode(copy.mode) }
                action.mode = mode
            } else {
                guard SymbolicMode.isValid(copy.mode) else { throw Self.badMode(copy.mode) }
                action.modeStr = copy.mode
            }
        }
        if !copy.owner.isEmpty { action.owner = Pb_ChownOpt(copy.owner) }
        action.createDestPath = true
        action.timestamp = -1
        action.excludePatterns = copy.excludes
        return action
    }

    private static func badMode(_ text: String) -> DockerfileError {
        DockerfileError(
            .invalidInstruction,
            "invalid chmod parameter: '\(text)'. it should be octal string and between 0 and 07777, "
                + "or symbolic such as u=rwX,go=rX")
    }

    private func checkChecksum(_ copy: Instruction.Copy) throws(DockerfileError) {
        guard !copy.checksum.isEmpty else { return }
        guard copy.sources.count == 1, copy.contents.isEmpty else {
            throw DockerfileError(.invalidInstruction, "checksum can't be specified for multiple sources")
        }
        guard ContextLoader.isURL(copy.sources[0]) || GitReference(copy.sources[0]) != nil else {
            throw DockerfileError(.invalidInstruction, "checksum requires HTTP(S) or Git sources")
        }
    }

    private mutating func fileStep(
        _ source: String, _ copy: Instruction.Copy, _ template: Pb_FileActionCopy, _ step: StagePlan.Step,
        _ title: String, _ index: Int
    ) throws(DockerfileError) -> FileStep {
        if copy.isAdd, var reference = GitReference(source) {
            if !copy.checksum.isEmpty { reference.checksum = copy.checksum }
            var action = template
            action.src = "/"
            action.dirCopyContents = true
            let edge = builder.addSource(
                reference.identifier, reference.attributes(keepsGitDirectory: copy.keepsGitDirectory ?? false),
                name: title, command: step.instruction.original, locations: locations(step.instruction.lines))
            return FileStep(copy: action, source: edge)
        }
        if ContextLoader.isURL(source) {
            guard copy.isAdd else { throw DockerfileError(.invalidInstruction, "source can't be a URL for COPY") }
            return download(source, copy, template, step, title)
        }
        if copy.from.isEmpty { lintIgnored(source, copy, step.instruction.lines) }
        var action = template
        var path = source
        if copy.keepsParents {
            var pattern = source
            path = "/"
            if let pivot = source.firstRange(of: "/./") {
                path = String(source[..<pivot.lowerBound])
                pattern = String(source[pivot.upperBound...])
            }
            pattern = String(SlashPath.rooted(pattern).dropFirst())
            action.includePatterns = [pattern]
            if !pattern.contains(where: { "*?[\\".contains($0) }) { action.requiredPaths = [pattern] }
        }
        action.src = SlashPath.rooted(path)
        action.followSymlink = true
        action.dirCopyContents = true
        action.allowWildcard = true
        action.allowEmptyWildcard = true
        action.attemptUnpackDockerCompatibility = copy.unpacks ?? copy.isAdd
        return FileStep(copy: action, source: try edge(of: copy, step, SlashPath.rooted(source), index))
    }

    /// Warns of a source that the ignore file keeps out of the context.
    ///
    /// Not where `!` lines take something back: below an excluded directory there may be files.
    private mutating func lintIgnored(_ source: String, _ copy: Instruction.Copy, _ lines: LineRange) {
        guard loaded.context.isLocal, let excludes = try? PatternMatcher(loaded.excludes), !excludes.hasNegations else {
            return
        }
        let path = SlashPath.clean(source)
        let isRoot = path == "." || path == "/"
        guard isRoot ? loaded.excludes.contains(where: ["*", "**", "**/*"].contains) : excludes.matches(path) else {
            return
        }
        linter.report(
            .copyIgnoredFile,
            "Attempting to \(copy.isAdd ? "Add" : "Copy") file \(GoText.quoted(path)) that is excluded by .dockerignore",
            lines)
    }

    private mutating func download(
        _ source: String, _ copy: Instruction.Copy, _ template: Pb_FileActionCopy, _ step: StagePlan.Step,
        _ title: String
    ) -> FileStep {
        let place = source.prefix { $0 != "?" && $0 != "#" }
        let path = place.firstRange(of: "://").map { place[$0.upperBound...].drop { $0 != "/" } } ?? ""
        var name = SlashPath.base(String(path))
        if name == "/" || name == "." { name = "__unnamed__" }
        var attributes = ["http.filename": name]
        if !copy.checksum.isEmpty { attributes["http.checksum"] = copy.checksum }
        let edge = builder.addSource(
            source, attributes, name: title, command: step.instruction.original,
            locations: locations(step.instruction.lines))
        var action = template
        action.src = "/" + name
        action.attemptUnpackDockerCompatibility = copy.unpacks ?? false
        return FileStep(copy: action, source: edge)
    }

    private mutating func edge(
        of copy: Instruction.Copy, _ step: StagePlan.Step, _ path: String, _ index: Int
    ) throws(DockerfileError) -> DefinitionBuilder.Edge? {
        switch step.sources.first ?? .context {
        case .scratch: return nil
        case .context:
            contextPaths.insert(path)
            return context
        case .plan(let number):
            guard number >= stageCount || plans[number].isDispatched else {
                throw DockerfileError(
                    .invalidInstruction,
                    "cannot copy from stage \(GoText.quoted(copy.from)), it needs to be defined before current stage "
                        + GoText.quoted(plans[index].displayName))
            }
            plans[number].usedPaths.insert(path)
            return plans[number].root
        }
    }
}

/// Symbolic modes of `--chmod`, such as `u=rwX,go-w`.
enum SymbolicMode {
    static func isValid(_ text: String) -> Bool {
        let clauses = text.split(separator: ",", omittingEmptySubsequences: false)
        return clauses.allSatisfy { clause in
            let rest = clause.drop { "ugoa".contains($0) }
            guard let sign = rest.first, "+-=".contains(sign) else { return false }
            return rest.allSatisfy { "+-=rwxXstugo".contains($0) }
        }
    }
}

extension String {
    /// With the end `old` replaced, if it ends so.
    func replacingLast(_ old: String, with new: String) -> String {
        hasSuffix(old) ? String(dropLast(old.count)) + new : self
    }
}
