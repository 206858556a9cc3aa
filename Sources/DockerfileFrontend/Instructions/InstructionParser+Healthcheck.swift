extension InstructionParser {
    /// Shortest allowed probe interval: Docker's engine refuses less.
    private static let intervalMin: Int64 = 1_000_000

    func healthcheck(_ raw: RawInstruction) throws(DockerfileError) -> Instruction.Healthcheck {
        let flags = try InstructionFlags(
            raw.flags,
            allowed: [
                ("interval", .text), ("timeout", .text), ("start-period", .text), ("start-interval", .text),
                ("retries", .text),
            ])
        let kind = raw.arguments.prefix { !$0.isWhitespace }
        let rest = String(raw.arguments.dropFirst(kind.count).trimmed)
        switch kind.uppercased() {
        case "": throw fault("HEALTHCHECK requires at least one argument")
        case "NONE":
            guard rest.isEmpty, raw.flags.isEmpty else { throw fault("HEALTHCHECK NONE takes no arguments") }
            return Instruction.Healthcheck(test: ["NONE"])
        case "CMD":
            let command = try command(rest)
            guard !command.words.isEmpty else { throw fault("Missing command after HEALTHCHECK CMD") }
            var health = Instruction.Healthcheck(test: [command.isShellForm ? "CMD-SHELL" : "CMD"] + command.words)
            health.isShellForm = command.isShellForm
            health.interval = try duration(flags, "interval")
            health.timeout = try duration(flags, "timeout")
            health.startPeriod = try duration(flags, "start-period")
            health.startInterval = try duration(flags, "start-interval")
            let retries = flags.text("retries")
            if !retries.isEmpty {
                guard let count = Int(retries), count >= 0 else {
                    throw fault("--retries must be a whole number and not negative (got \(retries))")
                }
                health.retries = count
            }
            return health
        default: throw fault("Unknown type \(GoText.quoted(kind.uppercased())) in HEALTHCHECK (try CMD)")
        }
    }

    private func duration(_ flags: InstructionFlags, _ name: String) throws(DockerfileError) -> Int64 {
        let text = flags.text(name)
        guard !text.isEmpty else { return 0 }
        guard let value = GoText.parseDuration(text) else { throw fault("invalid duration \(GoText.quoted(text))") }
        guard value >= 0, value == 0 || value >= Self.intervalMin else {
            throw fault("Interval \(GoText.quoted(name)) cannot be less than 1ms")
        }
        return value
    }
}
