internal import FoundationEssentials
internal import LLB
internal import OCI

/// Turns a parsed Dockerfile into the LLB of one target platform.
///
/// Two phases: `plan` decides which stages are needed and resolves their images, the only part that waits;
/// `convert` walks the instructions.
struct PlatformConversion {
    /// What tells one resolution from another.
    struct ImageKey: Hashable {
        var reference: String
        var platform: Platform
    }

    /// What a reference is in this build.
    struct ResolvedImage: Sendable {
        var digest: Digest
        var config: [UInt8]
    }

    let file: ParsedDockerfile
    let options: BuildOptions
    let environment: any FrontendEnvironment
    let loader: ContextLoader
    let loaded: ContextLoader.Loaded
    let target: Platform
    /// Whether the client named no platform, so that a base image may decide.
    let isImplicitTarget: Bool

    var builder = DefinitionBuilder()
    var linter: Linter
    /// Shared by the platforms of a build, so that a tag means one thing in all of it.
    var images: [ImageKey: ResolvedImage]
    var plans: [StagePlan] = []
    /// Number of plans that are stages; what follows are images and contexts that steps name.
    var stageCount = 0
    var planByName: [String: Int] = [:]
    var targetIndex = 0
    var global = EnvironmentList()
    var globalDefaults = EnvironmentList()
    var sourceFile: Int32 = 0
    var context: DefinitionBuilder.Edge?
    var contextPaths: Set<String> = []

    init(
        file: ParsedDockerfile, options: BuildOptions, loader: ContextLoader, loaded: ContextLoader.Loaded,
        target: Platform, isImplicitTarget: Bool, linter: Linter, images: [ImageKey: ResolvedImage]
    ) {
        self.file = file
        self.options = options
        environment = loader.environment
        self.loader = loader
        self.loaded = loaded
        self.target = target
        self.isImplicitTarget = isImplicitTarget
        self.linter = linter
        self.images = images
    }

    mutating func convert() async throws -> FrontendOutput.PlatformResult {
        var info = Pb_SourceInfo()
        info.filename = loaded.dockerfile.filename
        info.data = Data(loaded.dockerfile.bytes)
        info.definition = loaded.dockerfile.definition
        info.language = "Dockerfile"
        sourceFile = builder.addSourceFile(info)
        context = try loaded.context.add(
            to: &builder, name: "[internal] load build context", hint: options.contextName, excludes: loaded.excludes,
            sessionID: loaded.context.isLocal ? loader.sessionID(for: options.contextName) : environment.sessionID)
        try readGlobalArguments()
        try await plan()
        let needed = try reachable()
        for index in plans.indices where needed.contains(index) && index < stageCount {
            try dispatchStage(index)
        }
        followUsedPaths()
        return try result()
    }

    /// Local sources are told what is read of them.
    private mutating func followUsedPaths() {
        if loaded.context.isLocal, let context { follow(contextPaths, context) }
        for plan in plans { if let source = plan.localSource { follow(plan.usedPaths, source) } }
    }

    private mutating func follow(_ paths: Set<String>, _ edge: DefinitionBuilder.Edge) {
        guard !paths.isEmpty, !paths.contains("/") else { return }
        let relative = paths.map { String($0.drop { $0 == "/" }) }.sorted()
        builder.amendSource(edge) { $0["local.followpaths"] = TextList.json(relative) }
    }

    private mutating func result() throws -> FrontendOutput.PlatformResult {
        let plan = plans[targetIndex]
        var image = plan.image
        for (key, value) in options.labels {
            image.config.labels = (image.config.labels ?? [:]).merging([key: value]) { $1 }
        }
        if !isImplicitTarget {
            image.os = target.os
            image.architecture = target.architecture
            image.variant = target.variant
        }
        image.created = options.epoch.map { CalendarText.utc(seconds: $0) }
        image.rootfs = ImageConfig.RootFilesystem(diffIDs: image.rootfs.diffIDs)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let platform = isImplicitTarget ? plan.platform ?? target : target
        return FrontendOutput.PlatformResult(
            id: platform.description, platform: platform, definition: try builder.definition(of: plan.root),
            config: [UInt8](try encoder.encode(image)), baseConfig: plan.baseConfig)
    }

    /// The vertices' place in the Dockerfile: one range a line, as BuildKit does.
    func locations(_ lines: LineRange) -> [Pb_Location] {
        var location = Pb_Location()
        location.sourceIndex = sourceFile
        location.ranges = (lines.start...max(lines.start, lines.end)).map { line in
            var range = Pb_Range()
            range.start.line = Int32(line)
            range.end.line = Int32(line)
            return range
        }
        return [location]
    }

    /// The name of the next step of a stage: `[name 2/5] text`.
    mutating func stepName(_ index: Int, _ text: String) -> String {
        let plan = plans[index]
        guard plan.stepCount > 0 else { return text }
        plans[index].stepIndex += 1
        return Self.stepName(plan, step: plan.stepIndex + 1, text, showsPlatform: options.isMultiPlatform)
    }

    private static func stepName(_ plan: StagePlan, step: Int, _ text: String, showsPlatform: Bool) -> String {
        var prefix = ""
        if showsPlatform, let platform = plan.platform {
            prefix += platform.description + crossTarget(plan, platform) + " "
        }
        if !plan.displayName.isEmpty { prefix += plan.displayName + " " }
        let number = String(step)
        let padding = String(repeating: " ", count: max(0, String(plan.stepCount).count - number.count))
        return "[\(prefix)\(padding)\(number)/\(plan.stepCount)] " + (plan.isInTrigger ? "ONBUILD " : "") + text
    }

    /// `->arm64` for a stage that runs on one platform and builds for another.
    private static func crossTarget(_ plan: StagePlan, _ platform: Platform) -> String {
        guard let text = plan.environment["TARGETPLATFORM"], let target = Platform(text) else { return "" }
        if target.os != platform.os { return "->" + target.description }
        let variant = target.variant.map { "/" + $0 } ?? ""
        if target.architecture != platform.architecture { return "->" + target.architecture + variant }
        return target.variant == platform.variant ? "" : "->" + variant.dropFirst()
    }

    mutating func history(_ index: Int, _ text: String, makesLayer: Bool, isBuildKitStep: Bool = false) {
        var entry = ImageConfig.History(
            createdBy: text + (isBuildKitStep ? " # buildkit" : ""), comment: "buildkit.dockerfile.v0",
            emptyLayer: makesLayer ? nil : true)
        entry.created = options.epoch.map { CalendarText.utc(seconds: $0) }
        plans[index].image.history = (plans[index].image.history ?? []) + [entry]
    }
}

/// Times as RFC 3339 texts.
enum CalendarText {
    /// The second `seconds` after 1970 in UTC, in the proleptic Gregorian calendar.
    static func utc(seconds: Int64) -> String {
        let day = seconds >= 0 ? seconds / 86_400 : -((86_399 - seconds) / 86_400)
        let second = seconds - day * 86_400
        // Days from 0000-03-01, in eras of 400 years.
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let dayOfMonth = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let date = [pad(year, 4), pad(month, 2), pad(dayOfMonth, 2)].joined(separator: "-")
        let time = [pad(second / 3600, 2), pad(second / 60 % 60, 2), pad(second % 60, 2)].joined(separator: ":")
        return "\(date)T\(time)Z"
    }

    private static func pad(_ value: Int64, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }
}
