internal import FoundationEssentials
internal import LLB
internal import OCI

extension PlatformConversion {
    /// Variables that only `FROM` and stages that declare them see.
    mutating func readGlobalArguments() throws(DockerfileError) {
        let build = environment.buildPlatforms.first ?? .host
        var values: [(String, String)] = []
        for (prefix, platform) in [("BUILD", build), ("TARGET", target)] {
            values += [
                (prefix + "PLATFORM", platform.description), (prefix + "OS", platform.os),
                (prefix + "OSVERSION", platform.osVersion ?? ""), (prefix + "ARCH", platform.architecture),
                (prefix + "VARIANT", platform.variant ?? ""),
            ]
        }
        values.append(("TARGETSTAGE", options.target.isEmpty ? "default" : options.target))
        for (key, value) in values {
            global.set(key, options.buildArguments[key] ?? value)
            globalDefaults.set(key, value)
        }
        for instruction in file.globalArguments {
            guard case .arg(let arguments) = instruction.body else { continue }
            for argument in arguments {
                linter.lintSecret("ARG", argument.name, instruction.lines)
                do throws(DockerfileError) {
                    if let value = argument.value {
                        let plain = try expandGlobal(value, globalDefaults)
                        globalDefaults.set(argument.name, plain.text)
                        if options.buildArguments[argument.name] == nil {
                            global.set(argument.name, try expandGlobal(value, global).text)
                        }
                    }
                    if let given = options.buildArguments[argument.name] { global.set(argument.name, given) }
                } catch { throw error.located(at: [instruction.lines]) }
            }
        }
    }

    private func expandGlobal(
        _ text: String, _ values: EnvironmentList
    ) throws(DockerfileError) -> WordExpander.Outcome {
        try WordExpander.expand(text, options: .init(escape: file.directives.escape)) { values[$0] }
    }

    /// Makes a plan of every stage, finds the target, and loads the images and contexts that it needs.
    mutating func plan() async throws {
        for (number, stage) in file.stages.enumerated() {
            do throws(DockerfileError) {
                var plan = try planned(stage, number: number)
                if let base = planByName[plan.baseName.lowercased()] { plan.base = base }
                plans.append(plan)
                if !stage.name.isEmpty { planByName[stage.name] = number }
            } catch { throw error.located(at: [stage.lines]) }
        }
        stageCount = plans.count
        for index in 0..<stageCount {
            for instruction in file.stages[index].instructions { try append(instruction, to: index, at: nil) }
        }
        // A lone stage has no name in vertex names; what its steps take files from counts as one more, as does a mount.
        if plans.count == 1, !plans[0].steps.contains(where: \.instruction.hasMounts) { plans[0].displayName = "" }
        targetIndex = try findTarget()
        // Loading may uncover triggers, and those more images.
        while true {
            let pending = try reachable().sorted().filter { !plans[$0].isLoaded }
            guard !pending.isEmpty else { break }
            try await load(pending)
            for index in try reachable().sorted() where index < stageCount { try expandTriggers(index) }
        }
    }

    private mutating func planned(_ stage: Stage, number: Int) throws(DockerfileError) -> StagePlan {
        let base = try expandGlobal(stage.baseName, global)
        for name in base.unknown { reportUndefined(name, stage.lines) }
        guard !base.text.isEmpty else {
            throw DockerfileError(.invalidInstruction, "base name (\(stage.baseName)) should not be blank")
        }
        if stage.baseName.contains("$") {
            let usual = (try? expandGlobal(stage.baseName, globalDefaults).text) ?? ""
            if base.unknown.isEmpty, usual.isEmpty || (try? Reference(parsing: usual)) == nil {
                linter.report(
                    .invalidDefaultArgInFrom,
                    "Default value for ARG \(stage.baseName) results in empty or invalid base image name", stage.lines)
            }
        }
        var plan = StagePlan(
            baseName: base.text, name: stage.name, displayName: stage.name.isEmpty ? "stage-\(number)" : stage.name,
            isStage: true, original: stage.original, lines: stage.lines)
        plan.comments = stage.comments
        plan.ignoresCache = options.ignoresCache(stage: [stage.name, plan.displayName])
        if !stage.platform.isEmpty {
            let text = try expandGlobal(stage.platform, global)
            for name in text.unknown { reportUndefined(name, stage.lines) }
            guard let platform = Platform(text.text) else {
                throw DockerfileError(
                    .invalidInstruction, "failed to parse platform \(stage.platform): \(GoText.quoted(text.text))")
            }
            plan.platform = platform
        }
        return plan
    }

    private mutating func reportUndefined(_ name: String, _ lines: LineRange) {
        linter.report(
            .undefinedArgInFrom, "FROM argument '\(name)' is not declared" + GoText.hint(for: name, among: global.keys),
            lines)
    }

    /// Adds an instruction to a stage, at its end or at `position`, with its sources.
    private mutating func append(
        _ instruction: Instruction, to index: Int, at position: Int?
    ) throws(DockerfileError) {
        var sources: [StagePlan.StepSource] = []
        do throws(DockerfileError) {
            switch instruction.body {
            case .copy(let copy) where !copy.from.isEmpty: sources = [try source(copy.from, instruction)]
            case .run(let run):
                for text in run.mountTexts {
                    let name = try RunMount.sourceName(in: text)
                    sources.append(name.isEmpty ? .context : try source(name, instruction, allowsNumbers: false))
                }
            default: break
            }
        } catch { throw error.located(at: [instruction.lines]) }
        let step = StagePlan.Step(instruction: instruction, sources: sources, isTrigger: position != nil)
        plans[index].steps.insert(step, at: position ?? plans[index].steps.count)
    }

    private mutating func source(
        _ name: String, _ instruction: Instruction, allowsNumbers: Bool = true
    ) throws(DockerfileError) -> StagePlan.StepSource {
        if allowsNumbers, let number = Int(name) {
            guard (0..<stageCount).contains(number) else {
                throw DockerfileError(.stageNotFound, "invalid stage index \(number)")
            }
            return .plan(number)
        }
        if name.lowercased() == "scratch" { return .scratch }
        if let index = planByName[name.lowercased()] { return .plan(index) }
        let plan = StagePlan(
            baseName: name, name: "", displayName: "", isStage: false, original: instruction.original,
            lines: instruction.lines)
        plans.append(plan)
        planByName[name.lowercased()] = plans.count - 1
        return .plan(plans.count - 1)
    }

    private func findTarget() throws(DockerfileError) -> Int {
        guard !options.target.isEmpty else { return stageCount - 1 }
        if let index = planByName[options.target.lowercased()], index < stageCount { return index }
        if let number = Int(options.target), (0..<stageCount).contains(number) { return number }
        let names = plans[..<stageCount].map(\.name).filter { !$0.isEmpty }
        throw DockerfileError(
            .stageNotFound,
            "target stage \(GoText.quoted(options.target)) could not be found"
                + GoText.hint(for: options.target, among: names))
    }

    /// Everything that the target needs.
    ///
    /// Throws when stages need each other.
    func reachable() throws(DockerfileError) -> Set<Int> {
        var found: Set<Int> = []
        var active: [Int] = []
        // Iterative depth-first search: a stage is left when the marker below its needs comes up.
        var stack: [(index: Int, isLeaving: Bool)] = [(targetIndex, false)]
        while let (index, isLeaving) = stack.popLast() {
            if isLeaving {
                active.removeLast()
                continue
            }
            if active.contains(index) {
                let plan = plans[index]
                let name = plan.displayName.isEmpty ? "stage-\(index)" : plan.displayName
                throw DockerfileError(
                    .invalidInstruction, "circular dependency detected on stage: \(name)", lines: [plan.lines])
            }
            guard found.insert(index).inserted else { continue }
            active.append(index)
            stack.append((index, true))
            for need in needs(of: index) { stack.append((need, false)) }
        }
        return found
    }

    private func needs(of index: Int) -> [Int] {
        var result = plans[index].base.map { [$0] } ?? []
        for step in plans[index].steps {
            for case .plan(let source) in step.sources { result.append(source) }
        }
        return result
    }

    /// Puts the triggers of a loaded stage before its instructions and counts its numbered steps.
    mutating func expandTriggers(_ index: Int) throws(DockerfileError) {
        let plan = plans[index]
        guard plan.isLoaded, plan.stepCount == 0 else { return }
        plans[index].triggers = []
        for (position, trigger) in plan.triggers.enumerated() {
            try append(try triggered(trigger, plan), to: index, at: position)
        }
        let hasImage = plan.base == nil && plan.baseName != "scratch"
        plans[index].stepCount = (hasImage ? 1 : 0) + plans[index].steps.count { $0.instruction.isStep }
    }

    private func triggered(_ text: String, _ plan: StagePlan) throws(DockerfileError) -> Instruction {
        do throws(DockerfileError) {
            let read = try LineReader.read(Array(text.utf8))
            guard read.instructions.count == 1, let raw = read.instructions.first else {
                throw DockerfileError(.syntax, "onbuild trigger should be a single expression")
            }
            var instruction = try InstructionParser(escape: read.directives.escape).instruction(raw)
            instruction.lines = plan.lines
            return instruction
        } catch {
            throw DockerfileError(
                .invalidInstruction, "failed to parse onbuild trigger \(GoText.quoted(text)): \(error.message)",
                lines: [plan.lines])
        }
    }
}
