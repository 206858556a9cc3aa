/// Turns joined lines into instructions.
///
/// Its errors name no line; the caller knows it.
struct InstructionParser {
    let escape: Unicode.Scalar

    static let names = [
        "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER",
        "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    ]

    func fault(_ message: String) -> DockerfileError { DockerfileError(.syntax, message) }

    func instruction(_ raw: RawInstruction) throws(DockerfileError) -> Instruction {
        Instruction(
            body: try body(raw), original: raw.original, keyword: raw.keyword, lines: raw.lines, comments: raw.comments)
    }

    private func body(_ raw: RawInstruction) throws(DockerfileError) -> Instruction.Body {
        switch raw.name {
        case "ARG": return .arg(try arguments(raw))
        case "ENV":
            let (pairs, isLegacy) = try self.pairs(raw)
            return .env(pairs, isLegacy: isLegacy)
        case "LABEL":
            let (pairs, isLegacy) = try self.pairs(raw)
            return .label(pairs, isLegacy: isLegacy)
        case "RUN": return .run(try run(raw))
        case "COPY": return .copy(try copy(raw))
        case "ADD": return .copy(try add(raw))
        case "WORKDIR": return .workdir(try oneArgument(raw))
        case "USER": return .user(try oneArgument(raw))
        case "STOPSIGNAL": return .stopSignal(try oneArgument(raw))
        case "MAINTAINER": return .maintainer(try oneArgument(raw))
        case "CMD":
            try noFlags(raw)
            return .cmd(try command(raw.arguments))
        case "ENTRYPOINT":
            try noFlags(raw)
            return .entrypoint(try command(raw.arguments))
        case "EXPOSE":
            try noFlags(raw)
            let ports = Self.words(raw.arguments)
            guard !ports.isEmpty else { throw atLeastOne(raw) }
            return .expose(ports)
        case "VOLUME":
            try noFlags(raw)
            let volumes = try jsonOrWords(raw.arguments)
            guard !volumes.isEmpty else { throw atLeastOne(raw) }
            guard !volumes.contains(where: \.trimmed.isEmpty) else {
                throw fault("VOLUME specified can not be an empty string")
            }
            return .volume(volumes.map { String($0.trimmed) })
        case "SHELL":
            try noFlags(raw)
            guard case .strings(let words) = JSONStringArray.parse(raw.arguments) else {
                throw fault("SHELL requires the arguments to be in JSON form")
            }
            guard !words.isEmpty else { throw atLeastOne(raw) }
            return .shell(words)
        case "HEALTHCHECK": return .healthcheck(try healthcheck(raw))
        case "ONBUILD": return .onBuild(try onBuild(raw))
        default:
            throw fault("unknown instruction: \(raw.keyword)" + GoText.hint(for: raw.name, among: Self.names))
        }
    }

    func stage(_ raw: RawInstruction) throws(DockerfileError) -> Stage {
        let flags = try InstructionFlags(raw.flags, allowed: [("platform", .text)])
        let words = Self.words(raw.arguments)
        guard words.count == 1 || (words.count == 3 && words[1].lowercased() == "as") else {
            throw fault("FROM requires either one or three arguments")
        }
        let name = words.count == 3 ? words[2].lowercased() : ""
        if words.count == 3 {
            let isValid =
                (name.utf8.first.map { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) } ?? false)
                && name.utf8.allSatisfy {
                    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || "-_.".utf8.contains($0)
                }
            guard isValid else {
                throw fault(
                    "invalid name for build stage: \(GoText.quoted(words[2])), "
                        + "name can't start with a number or contain symbols")
            }
        }
        return Stage(
            name: name, writtenName: words.count == 3 ? words[2] : "", baseName: words[0],
            platform: flags.text("platform"), original: raw.original, fromKeyword: raw.keyword,
            asKeyword: words.count == 3 ? words[1] : "", lines: raw.lines, comments: raw.comments)
    }

    func noFlags(_ raw: RawInstruction) throws(DockerfileError) {
        _ = try InstructionFlags(raw.flags, allowed: [])
    }

    private func atLeastOne(_ raw: RawInstruction) -> DockerfileError {
        fault("\(raw.name) requires at least one argument")
    }

    private func oneArgument(_ raw: RawInstruction) throws(DockerfileError) -> String {
        try noFlags(raw)
        guard !raw.arguments.isEmpty else { throw fault("\(raw.name) requires exactly one argument") }
        return raw.arguments
    }

    private func arguments(_ raw: RawInstruction) throws(DockerfileError) -> [Instruction.Argument] {
        try noFlags(raw)
        let words = ShellWords.split(raw.arguments, escape: escape)
        guard !words.isEmpty else { throw atLeastOne(raw) }
        return try words.map { (word) throws(DockerfileError) in
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard !parts[0].isEmpty else { throw fault("ARG names can not be blank") }
            return Instruction.Argument(name: parts[0], value: parts.count == 2 ? parts[1] : nil)
        }
    }

    private func pairs(_ raw: RawInstruction) throws(DockerfileError) -> ([Instruction.Pair], Bool) {
        try noFlags(raw)
        let words = ShellWords.split(raw.arguments, escape: escape)
        guard let first = words.first else { throw atLeastOne(raw) }
        guard first.contains("=") else {
            let key = raw.arguments.prefix { !$0.isWhitespace }
            let value = raw.arguments.dropFirst(key.count).trimmed
            guard !value.isEmpty else { throw fault("\(raw.name) must have two arguments") }
            return ([Instruction.Pair(key: String(key), value: String(value))], true)
        }
        let pairs = try words.map { (word) throws(DockerfileError) in
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else {
                throw fault(
                    "Syntax error - can't find = in \(GoText.quoted(word)). Must be of the form: name=value")
            }
            guard !parts[0].isEmpty else { throw fault("\(raw.name) names can not be blank") }
            return Instruction.Pair(key: parts[0], value: parts[1])
        }
        return (pairs, false)
    }

    /// Exec form when it is a JSON array of strings, else shell form.
    func command(_ text: String) throws(DockerfileError) -> Instruction.CommandLine {
        switch JSONStringArray.parse(text) {
        case .strings(let words): .init(words: words, isShellForm: false)
        case .otherElements: throw fault("when using JSON array syntax, arrays must be comprised of strings only")
        case .noArray: .init(words: text.isEmpty ? [] : [text], isShellForm: true)
        }
    }

    private func jsonOrWords(_ text: String) throws(DockerfileError) -> [String] {
        switch JSONStringArray.parse(text) {
        case .strings(let words): words
        case .otherElements: throw fault("when using JSON array syntax, arrays must be comprised of strings only")
        case .noArray: Self.words(text)
        }
    }

    private func run(_ raw: RawInstruction) throws(DockerfileError) -> Instruction.Run {
        let flags = try InstructionFlags(
            raw.flags, allowed: [("mount", .list), ("network", .text), ("security", .text), ("device", .list)])
        let command = try command(raw.arguments)
        guard !command.words.isEmpty else { throw atLeastOne(raw) }
        let networkName = flags.text("network").isEmpty ? "default" : flags.text("network").lowercased()
        guard let network = Instruction.Network(rawValue: networkName) else {
            throw fault("network mode \(GoText.quoted(networkName)) is not supported")
        }
        let security = flags.text("security").lowercased()
        guard ["", "sandbox", "insecure"].contains(security) else {
            throw fault("security \(GoText.quoted(security)) is not supported")
        }
        for text in flags.list("mount") {
            _ = try RunMount.sourceName(in: text)
            // What has no variables can be judged here, with the line at hand.
            if !text.contains("$") { _ = try RunMount(text) { (value) throws(DockerfileError) in value } }
        }
        return Instruction.Run(
            command: command, heredocs: raw.heredocs, mountTexts: flags.list("mount"), network: network,
            isInsecure: security == "insecure",
            devices: try flags.list("device").map { (text) throws(DockerfileError) in try device(text) })
    }

    private func device(_ text: String) throws(DockerfileError) -> Instruction.Device {
        var device = Instruction.Device(name: "", isRequired: false)
        for field in RunMount.fields(of: text) ?? [] {
            let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            if device.name.isEmpty, parts[0].contains("/") {
                // A qualified name, `vendor/class=device`, has an equals sign of its own.
                device.name = field
            } else if parts[0] == "name", parts.count == 2 {
                device.name = parts[1]
            } else if parts[0] == "required", let value = GoBool.parse(parts.count == 2 ? parts[1] : "true") {
                device.isRequired = value
            } else {
                throw fault("unexpected field '\(field)' in device '\(text)'")
            }
        }
        guard !device.name.isEmpty else { throw fault("invalid device '\(text)': a name is required") }
        return device
    }

    private func onBuild(_ raw: RawInstruction) throws(DockerfileError) -> String {
        try noFlags(raw)
        guard !raw.arguments.isEmpty else { throw atLeastOne(raw) }
        let trigger = raw.arguments.prefix { !$0.isWhitespace }.uppercased()
        if trigger == "ONBUILD" { throw fault("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed") }
        if trigger == "MAINTAINER" || trigger == "FROM" {
            throw fault("\(trigger) isn't allowed as an ONBUILD trigger")
        }
        var expression = String(raw.original.dropFirst(raw.keyword.count).trimmed)
        for heredoc in raw.heredocs {
            expression += "\n" + heredoc.content + heredoc.name
        }
        return expression
    }

    /// Words between blanks, without regard to quotes.
    static func words(_ text: String) -> [String] {
        text.split(whereSeparator: \.isWhitespace).map(String.init)
    }
}
