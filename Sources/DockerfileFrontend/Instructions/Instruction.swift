/// One instruction of a Dockerfile, understood but not yet expanded.
struct Instruction: Hashable, Sendable {
    var body: Body
    /// The line as written, continuation lines joined.
    var original: String
    var keyword: String
    var lines: LineRange
    var comments: [String] = []

    enum Body: Hashable, Sendable {
        case arg([Argument])
        case env([Pair], isLegacy: Bool)
        case label([Pair], isLegacy: Bool)
        case run(Run)
        case copy(Copy)
        case workdir(String)
        case user(String)
        case cmd(CommandLine)
        case entrypoint(CommandLine)
        case expose([String])
        case volume([String])
        case stopSignal(String)
        case healthcheck(Healthcheck)
        case shell([String])
        case onBuild(String)
        case maintainer(String)
    }

    /// `name[=value]` of ARG.
    struct Argument: Hashable, Sendable {
        var name: String
        var value: String?
    }

    /// `key=value` of ENV and LABEL.
    struct Pair: Hashable, Sendable {
        var key: String
        var value: String
    }

    /// A command in shell or exec form.
    struct CommandLine: Hashable, Sendable {
        /// The words of the exec form; the one line of the shell form.
        var words: [String]
        var isShellForm: Bool
    }

    /// RUN.
    struct Run: Hashable, Sendable {
        var command: CommandLine
        var heredocs: [Heredoc]
        /// The values of `--mount`; they may hold variables, so they are read when the step is made.
        var mountTexts: [String]
        var network: Network
        var isInsecure: Bool
        var devices: [Device]
    }

    /// A device of RUN --device.
    struct Device: Hashable, Sendable {
        var name: String
        var isRequired: Bool
    }

    enum Network: String, Hashable, Sendable {
        case standard = "default"
        case none
        case host
    }

    /// COPY and ADD.
    struct Copy: Hashable, Sendable {
        var isAdd: Bool
        var sources: [String]
        var contents: [Content]
        var destination: String
        var from = ""
        var owner = ""
        var mode = ""
        var isLinked = false
        var keepsParents = false
        var excludes: [String] = []
        var checksum = ""
        var keepsGitDirectory: Bool?
        var unpacks: Bool?
    }

    /// A here-document that COPY writes to a file.
    struct Content: Hashable, Sendable {
        var name: String
        var data: String
        var expands: Bool
    }

    /// HEALTHCHECK; durations in nanoseconds.
    struct Healthcheck: Hashable, Sendable {
        /// `NONE`, `CMD …` or `CMD-SHELL …`.
        var test: [String]
        var interval: Int64 = 0
        var timeout: Int64 = 0
        var startPeriod: Int64 = 0
        var startInterval: Int64 = 0
        var retries = 0
        var isShellForm = false
    }

    /// Whether it is a RUN with mounts.
    var hasMounts: Bool {
        if case .run(let run) = body { !run.mountTexts.isEmpty } else { false }
    }

    /// Whether it is one of the numbered steps of its stage.
    var isStep: Bool {
        switch body {
        case .run, .copy, .workdir: true
        default: false
        }
    }
}
