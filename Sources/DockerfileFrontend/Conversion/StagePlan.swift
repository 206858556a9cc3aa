internal import LLB
internal import OCI

/// A stage, or an image or context that a step names, on its way to LLB.
struct StagePlan {
    /// An instruction and where its files come from.
    struct Step {
        var instruction: Instruction
        /// One for COPY --from, one for each RUN --mount.
        var sources: [StepSource]
        /// Whether it comes from an ONBUILD of the base.
        var isTrigger = false
    }

    /// Where a step's files come from.
    enum StepSource: Hashable {
        case context
        case scratch
        case plan(Int)
    }

    /// What follows FROM, expanded.
    var baseName: String
    var name: String
    /// Name in vertex names: `stage-N` for stages without one.
    var displayName: String
    /// False for what only a COPY --from or a mount names.
    var isStage: Bool
    var platform: Platform?
    /// The stage that this one builds on.
    var base: Int?
    var steps: [Step] = []
    var original: String
    var lines: LineRange
    var comments: [String] = []

    var image: ImageConfig
    var baseConfig: [UInt8]?
    /// Triggers of the base image or stage.
    var triggers: [String] = []

    var root: DefinitionBuilder.Edge?
    var environment = EnvironmentList()
    var directory = "/"
    var user = ""
    var isLoaded = false
    var isDispatched = false
    var ignoresCache = false

    /// Numbered steps in all and so far.
    var stepCount = 0
    var stepIndex = 0
    /// Whether the step that is being converted comes from an ONBUILD of the base.
    var isInTrigger = false
    var arguments: [Instruction.Argument] = []
    var hasCommand = false
    var hasWorkdir = false
    /// The local directory that this stands for: its `followpaths` are set at the end.
    var localSource: DefinitionBuilder.Edge?
    var usedPaths: Set<String> = []

    init(baseName: String, name: String, displayName: String, isStage: Bool, original: String, lines: LineRange) {
        self.baseName = baseName
        self.name = name
        self.displayName = displayName
        self.isStage = isStage
        self.original = original
        self.lines = lines
        image = ImageConfig(platform: .host)
    }
}
