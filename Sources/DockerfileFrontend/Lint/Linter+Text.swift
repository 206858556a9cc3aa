extension Linter {
    /// Stage names that `FROM` can't refer to.
    private static let reservedNames = ["scratch", "context"]
    private static let secretWords: Set<String> = [
        "apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token",
    ]

    /// The rules that need only the text, not its meaning.
    mutating func lintText(_ file: ParsedDockerfile) {
        for lines in file.emptyContinuations { report(.noEmptyContinuation, "Empty continuation line", lines) }
        lintCasing(file.keywords)
        var names: Set<String> = []
        for stage in file.stages {
            if !stage.name.isEmpty {
                lintStageName(stage)
                if !names.insert(stage.name).inserted {
                    report(
                        .duplicateStageName,
                        "Duplicate stage name \(GoText.quoted(stage.name)), stage names should be unique",
                        stage.lines)
                }
            }
            lintPlatform(stage)
            lintStage(stage)
        }
    }

    private mutating func lintStageName(_ stage: Stage) {
        if stage.writtenName != stage.name {
            report(.stageNameCasing, "Stage name '\(stage.writtenName)' should be lowercase", stage.lines)
        }
        let isUpper = stage.fromKeyword == stage.fromKeyword.uppercased()
        let isLower = stage.fromKeyword == stage.fromKeyword.lowercased()
        let wanted = isUpper ? stage.asKeyword.uppercased() : stage.asKeyword.lowercased()
        if isUpper || isLower, stage.asKeyword != wanted {
            report(
                .fromAsCasing, "'\(stage.asKeyword)' and '\(stage.fromKeyword)' keywords' casing do not match",
                stage.lines)
        }
        if Self.reservedNames.contains(stage.name) {
            report(
                .reservedStageName,
                "Stage name should not use the same name as reserved stage \(GoText.quoted(stage.name))", stage.lines)
        }
    }

    private mutating func lintPlatform(_ stage: Stage) {
        guard !stage.platform.isEmpty else { return }
        if !stage.platform.contains("$") {
            report(
                .fromPlatformFlagConstDisallowed,
                "FROM --platform flag should not use constant value \(GoText.quoted(stage.platform))", stage.lines)
        } else if ["$TARGETPLATFORM", "${TARGETPLATFORM}"].contains(stage.platform) {
            report(
                .redundantTargetPlatform,
                "Setting platform to predefined \(stage.platform) in FROM is redundant as this is the default behavior",
                stage.lines)
        }
    }

    private mutating func lintCasing(_ keywords: [(String, LineRange)]) {
        var upper = 0
        var lower = 0
        for (word, _) in keywords {
            if word == word.uppercased() { upper += 1 } else if word == word.lowercased() { lower += 1 }
        }
        let prefersLower = lower > upper
        for (word, lines) in keywords {
            let wanted = prefersLower ? word.lowercased() : word.uppercased()
            guard word != wanted else { continue }
            report(
                .consistentInstructionCasing,
                "Command '\(word)' should match the case of the command majority "
                    + "(\(prefersLower ? "lowercase" : "uppercase"))", lines)
        }
    }

    private mutating func lintStage(_ stage: Stage) {
        var last: [String: Instruction] = [:]
        let hasShell = stage.instructions.contains { if case .shell = $0.body { true } else { false } }
        for instruction in stage.instructions {
            switch instruction.body {
            case .maintainer:
                report(
                    .maintainerDeprecated, "Maintainer instruction is deprecated in favor of using label",
                    instruction.lines)
            case .env(let pairs, let isLegacy):
                if isLegacy { lintLegacy("ENV", instruction.lines) }
                for pair in pairs { lintSecret("ENV", pair.key, instruction.lines) }
            case .label(_, let isLegacy): if isLegacy { lintLegacy("LABEL", instruction.lines) }
            case .arg(let arguments):
                for argument in arguments { lintSecret("ARG", argument.name, instruction.lines) }
            case .cmd(let command): lintJSON("CMD", command, hasShell, instruction.lines)
            case .entrypoint(let command): lintJSON("ENTRYPOINT", command, hasShell, instruction.lines)
            case .expose(let ports): for port in ports { lintPort(port, instruction.lines) }
            default: break
            }
            switch instruction.body {
            case .cmd, .entrypoint, .healthcheck:
                let name = instruction.keyword.uppercased()
                if let earlier = last[name] {
                    report(
                        .multipleInstructionsDisallowed,
                        "Multiple \(name) instructions should not be used in the same stage because only the last one "
                            + "will be used", earlier.lines)
                }
                last[name] = instruction
            default: break
            }
        }
    }

    private mutating func lintLegacy(_ name: String, _ lines: LineRange) {
        report(
            .legacyKeyValueFormat,
            "\"\(name) key=value\" should be used instead of legacy \"\(name) key value\" format", lines)
    }

    private mutating func lintJSON(
        _ name: String, _ command: Instruction.CommandLine, _ hasShell: Bool, _ lines: LineRange
    ) {
        // A stage that sets its own shell chose it on purpose.
        guard command.isShellForm, !hasShell else { return }
        report(
            .jsonArgsRecommended,
            "JSON arguments recommended for \(name) to prevent unintended behavior related to OS signals", lines)
    }

    /// `TOKEN`, `GITHUB_TOKEN`, but not `TOKEN_PUBLIC_KEY`, `KEYBOARD`.
    mutating func lintSecret(_ name: String, _ variable: String, _ lines: LineRange) {
        let parts = variable.lowercased().split(separator: "_").map(String.init)
        guard parts.contains(where: Self.secretWords.contains), !parts.contains("public") else { return }
        report(
            .secretsUsedInArgOrEnv,
            "Do not use ARG or ENV instructions for sensitive data (\(name) \(GoText.quoted(variable)))", lines)
    }

    private mutating func lintPort(_ port: String, _ lines: LineRange) {
        guard !port.contains("$") else { return }
        let parts = port.split(separator: "/", maxSplits: 1)
        if parts.count == 2, parts[1] != parts[1].lowercased() {
            report(
                .exposeProtoCasing, "Defined protocol '\(port)' in EXPOSE instruction should be lowercase", lines)
        }
        if port.contains(":") {
            report(
                .exposeInvalidFormat,
                "EXPOSE instruction should not define an IP address or host-port mapping, found '\(port)'", lines)
        }
    }
}
