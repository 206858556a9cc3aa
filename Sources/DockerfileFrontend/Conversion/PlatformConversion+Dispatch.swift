internal import LLB
internal import OCI

extension PlatformConversion {
    /// What a container gets when neither image nor Dockerfile sets PATH.
    static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// Walks the instructions of a stage whose needs were walked before.
    mutating func dispatchStage(_ index: Int) throws(DockerfileError) {
        if let base = plans[index].base { inherit(base, by: index) }
        let image = plans[index].image
        plans[index].triggers = []
        var variables = image.config.env ?? []
        if !variables.contains(where: { $0.hasPrefix("PATH=") }), image.os != "windows" {
            variables.append("PATH=" + Self.defaultPath)
            plans[index].image.config.env = variables
        }
        for text in variables {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            plans[index].environment.set(parts[0], parts.count == 2 ? parts[1] : "")
        }
        plans[index].directory = SlashPath.rooted(image.config.workingDir ?? "/")
        plans[index].user = image.config.user ?? ""
        for step in plans[index].steps {
            plans[index].isInTrigger = step.isTrigger
            do throws(DockerfileError) { try dispatch(step, index) } catch {
                throw error.located(at: [step.instruction.lines])
            }
        }
        plans[index].isDispatched = true
    }

    private mutating func inherit(_ base: Int, by index: Int) {
        let parent = plans[base]
        plans[index].root = parent.root
        plans[index].platform = parent.platform
        plans[index].image = parent.image
        plans[index].image.config.onBuild = nil
        plans[index].baseConfig = parent.baseConfig
        plans[index].environment = parent.environment
        plans[index].directory = parent.directory
        plans[index].user = parent.user
        plans[index].arguments = parent.arguments
        plans[index].hasWorkdir = parent.hasWorkdir
        // A stage on top of a local directory can see all of it.
        if parent.localSource != nil { plans[base].usedPaths.insert("/") }
    }

    private mutating func dispatch(_ step: StagePlan.Step, _ index: Int) throws(DockerfileError) {
        let instruction = step.instruction
        switch instruction.body {
        case .arg(let arguments): try setArguments(arguments, instruction, index)
        case .env(let pairs, _):
            var text = "ENV"
            // All values see the variables as they were before the instruction.
            let expanded = try expand(pairs, instruction, index)
            for pair in expanded {
                text += " " + pair.key + "=" + pair.value
                plans[index].environment.set(pair.key, pair.value)
                setImageVariable(pair, index)
            }
            history(index, text, makesLayer: false)
        case .label(let pairs, _):
            var text = "LABEL"
            for pair in try expand(pairs, instruction, index) {
                text += " " + pair.key + "=" + pair.value
                plans[index].image.config.labels = (plans[index].image.config.labels ?? [:])
                    .merging([pair.key: pair.value]) { $1 }
            }
            history(index, text, makesLayer: false)
        case .run(let run): try dispatchRun(run, step, index)
        case .copy(let copy): try dispatchCopy(copy, step, index)
        case .workdir(let path): try dispatchWorkdir(path, instruction, index)
        default: try dispatchConfiguration(instruction, index)
        }
    }

    // MARK: Expansion

    /// Expands a word with the stage's variables and reports the ones that nobody set.
    mutating func expand(
        _ text: String, _ instruction: Instruction, _ index: Int
    ) throws(DockerfileError) -> WordExpander.Outcome {
        let variables = plans[index].environment
        let outcome = try WordExpander.expand(text, options: .init(escape: file.directives.escape)) { variables[$0] }
        let declared = Set(plans[index].arguments.map(\.name))
        for name in outcome.unknown where !declared.contains(name) {
            linter.report(
                .undefinedVar, "Usage of undefined variable '$\(name)'" + hint(name, variables.keys), instruction.lines)
        }
        return outcome
    }

    private func hint(_ name: String, _ names: [String]) -> String {
        GoText.suggestion(for: name, among: names).map { " (did you mean $\($0)?)" } ?? ""
    }

    private mutating func expand(
        _ pairs: [Instruction.Pair], _ instruction: Instruction, _ index: Int
    ) throws(DockerfileError) -> [Instruction.Pair] {
        var result: [Instruction.Pair] = []
        for pair in pairs {
            result.append(
                Instruction.Pair(
                    key: try expand(pair.key, instruction, index).text,
                    value: try expand(pair.value, instruction, index).text))
        }
        return result
    }

    /// A text for vertex names: expanded as far as that is possible.
    func shown(_ text: String, _ index: Int, asShell: Bool = false, masking: [String] = []) -> String {
        var variables = plans[index].environment
        for name in masking { variables.set(name, "****") }
        var options = WordExpander.Options(escape: file.directives.escape)
        options.keepsQuotes = asShell
        options.keepsUnknown = asShell
        let expanded = (try? WordExpander.expand(text, options: options) { variables[$0] })?.text ?? text
        let keyword = expanded.prefix { !$0.isWhitespace }
        return keyword.uppercased() + expanded.dropFirst(keyword.count)
    }

    private mutating func setImageVariable(_ pair: Instruction.Pair, _ index: Int) {
        var variables = plans[index].image.config.env ?? []
        let text = pair.key + "=" + pair.value
        if let place = variables.firstIndex(where: { $0.hasPrefix(pair.key + "=") || $0 == pair.key }) {
            variables[place] = text
        } else {
            variables.append(text)
        }
        plans[index].image.config.env = variables
    }

    private mutating func setArguments(
        _ arguments: [Instruction.Argument], _ instruction: Instruction, _ index: Int
    ) throws(DockerfileError) {
        var texts: [String] = []
        var expanded: [Instruction.Argument] = []
        for argument in arguments {
            var copy = argument
            copy.name = try expand(argument.name, instruction, index).text
            if let value = argument.value { copy.value = try expand(value, instruction, index).text }
            expanded.append(copy)
        }
        for var argument in expanded {
            if let given = options.buildArguments[argument.name] {
                argument.value = given
            } else if argument.value == nil {
                argument.value = global[argument.name]
            }
            if let value = argument.value { plans[index].environment.set(argument.name, value) }
            if let place = plans[index].arguments.firstIndex(where: { $0.name == argument.name }) {
                plans[index].arguments[place] = argument
            } else {
                plans[index].arguments.append(argument)
            }
            texts.append(argument.name + (argument.value.map { "=" + $0 } ?? ""))
        }
        history(index, "ARG " + texts.joined(separator: " "), makesLayer: false)
    }

    private mutating func dispatchWorkdir(
        _ text: String, _ instruction: Instruction, _ index: Int
    ) throws(DockerfileError) {
        let path = try expand(text, instruction, index).text
        if !plans[index].hasWorkdir, !path.hasPrefix("/") {
            linter.report(
                .workdirRelativePath,
                "Relative workdir \(GoText.quoted(path)) can have unexpected results if the base image changes",
                instruction.lines)
        }
        plans[index].hasWorkdir = true
        let directory = SlashPath.rooted(SlashPath.resolve(path, in: plans[index].directory))
        plans[index].directory = directory
        plans[index].image.config.workingDir = directory
        if directory != "/" {
            var action = Pb_FileActionMkDir()
            action.path = directory
            action.mode = 0o755
            action.makeParents = true
            action.timestamp = -1
            let user = plans[index].image.config.user ?? ""
            if !user.isEmpty { action.owner = Pb_ChownOpt(user) }
            let name = stepName(index, shown(instruction.original, index))
            plans[index].root = builder.addFile(
                [FileStep(action)], over: plans[index].root,
                metadata: .named(name, command: instruction.original), locations: locations(instruction.lines))
        }
        history(index, "WORKDIR " + directory, makesLayer: directory != "/")
    }
}
