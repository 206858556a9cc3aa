internal import OCI

extension PlatformConversion {
    /// The instructions that change nothing but the image config.
    mutating func dispatchConfiguration(_ instruction: Instruction, _ index: Int) throws(DockerfileError) {
        var text = ""
        switch instruction.body {
        case .user(let name):
            let user = try expand(name, instruction, index).text
            plans[index].user = user
            plans[index].image.config.user = user
            text = "USER " + user
        case .cmd(let command):
            let words = command.isShellForm ? shell(index) + command.words : command.words
            plans[index].image.config.cmd = words
            plans[index].image.config.argsEscaped = true
            plans[index].hasCommand = true
            text = "CMD " + GoText.quoted(words)
        case .entrypoint(let command):
            let words = command.isShellForm ? shell(index) + command.words : command.words
            plans[index].image.config.entrypoint = words
            // The base image's CMD was meant for another entry point.
            if !plans[index].hasCommand { plans[index].image.config.cmd = nil }
            text = "ENTRYPOINT " + GoText.quoted(words)
        case .expose(let ports):
            var specs: Set<String> = []
            for port in ports {
                for word in try expand(port, instruction, index).words { specs.formUnion(try PortRange.expand(word)) }
            }
            var all = plans[index].image.config.exposedPorts ?? [:]
            for spec in specs { all[spec] = ImageConfig.Empty() }
            plans[index].image.config.exposedPorts = all
            text = "EXPOSE " + GoText.listed(specs.sorted())
        case .volume(let paths):
            var expanded: [String] = []
            for path in paths { expanded.append(try expand(path, instruction, index).text) }
            guard !expanded.contains("") else {
                throw DockerfileError(.invalidInstruction, "VOLUME specified can not be an empty string")
            }
            var all = plans[index].image.config.volumes ?? [:]
            for path in expanded { all[path] = ImageConfig.Empty() }
            plans[index].image.config.volumes = all
            text = "VOLUME " + GoText.listed(expanded)
        case .stopSignal(let name):
            let signal = try expand(name, instruction, index).text
            guard SignalName.isValid(signal) else {
                throw DockerfileError(.invalidInstruction, "Invalid signal: \(signal)")
            }
            plans[index].image.config.stopSignal = signal
            text = "STOPSIGNAL " + signal
        case .healthcheck(let health):
            plans[index].image.config.healthcheck = Self.config(health)
            text = "HEALTHCHECK " + Self.text(health)
        case .shell(let words):
            plans[index].image.config.shell = words
            text = "SHELL " + GoText.listed(words)
        case .onBuild(let expression):
            plans[index].image.config.onBuild = (plans[index].image.config.onBuild ?? []) + [expression]
            return
        case .maintainer(let name):
            plans[index].image.author = name
            text = "MAINTAINER " + name
        case .arg, .env, .label, .run, .copy, .workdir: return
        }
        history(index, text, makesLayer: false)
    }

    /// What runs the shell form.
    func shell(_ index: Int) -> [String] {
        if let shell = plans[index].image.config.shell, !shell.isEmpty { return shell }
        return plans[index].image.os == "windows" ? ["cmd", "/S", "/C"] : ["/bin/sh", "-c"]
    }

    private static func config(_ health: Instruction.Healthcheck) -> ImageConfig.Healthcheck {
        var config = ImageConfig.Healthcheck(test: health.test)
        config.interval = health.interval == 0 ? nil : health.interval
        config.timeout = health.timeout == 0 ? nil : health.timeout
        config.startPeriod = health.startPeriod == 0 ? nil : health.startPeriod
        config.startInterval = health.startInterval == 0 ? nil : health.startInterval
        config.retries = health.retries == 0 ? nil : health.retries
        return config
    }

    private static func text(_ health: Instruction.Healthcheck) -> String {
        let durations = [
            ("Interval", health.interval), ("Timeout", health.timeout), ("StartPeriod", health.startPeriod),
            ("StartInterval", health.startInterval),
        ]
        let texts = durations.map { "\($0):\(GoText.duration($1))" }.joined(separator: " ")
        return "{Test:\(GoText.listed(health.test)) \(texts) Retries:\(health.retries)}"
    }
}

/// Port specifications of EXPOSE.
enum PortRange {
    /// `80`, `80/udp`, `8000-8010/tcp`, also with a host part that is ignored: every port with its protocol.
    static func expand(_ text: String) throws(DockerfileError) -> Set<String> {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let name = parts.count == 2 && !parts[1].isEmpty ? parts[1].lowercased() : "tcp"
        guard ["tcp", "udp", "sctp"].contains(name) else { throw fault(text, "invalid proto: \(name)") }
        let container = String(parts[0].split(separator: ":", omittingEmptySubsequences: false).last ?? "")
        let ends = container.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard (1...2).contains(ends.count), let low = ends[0], let high = ends[ends.count - 1], low <= high,
            (1...65_535).contains(low), high <= 65_535
        else { throw fault(text, "invalid port or range") }
        return Set((low...high).map { "\($0)/\(name)" })
    }

    private static func fault(_ text: String, _ why: String) -> DockerfileError {
        DockerfileError(.invalidInstruction, "invalid containerPort: \(text): \(why)")
    }
}

/// Signals of STOPSIGNAL.
enum SignalName {
    private static let names: Set<String> = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
        "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
        "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
    ]

    /// A number that Linux has, or a name with or without SIG; `RTMIN+n` and `RTMAX-n` too.
    static func isValid(_ text: String) -> Bool {
        if let number = Int(text) { return (1...64).contains(number) }
        var name = text.uppercased()
        if name.hasPrefix("SIG") { name.removeFirst(3) }
        if name.hasPrefix("RTMIN+") { return Int(name.dropFirst(6)).map { (1...15).contains($0) } ?? false }
        if name.hasPrefix("RTMAX-") { return Int(name.dropFirst(6)).map { (1...14).contains($0) } ?? false }
        return names.contains(name)
    }
}
