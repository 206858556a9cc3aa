internal import FoundationEssentials

/// The questions that a client may ask instead of a build; the answer is metadata alone.
enum Subrequest {
    private struct Description: Encodable {
        struct Name: Encodable { var name: String }
        var name: String
        var version: String
        var type = "rpc"
        var description: String
        var metadata: [Name]
    }

    private struct Position: Encodable { var line: Int }
    private struct Range: Encodable {
        var start: Position
        var end: Position
    }
    private struct Location: Encodable {
        var sourceIndex: Int?
        var ranges: [Range]

        init(_ lines: [LineRange]) {
            ranges = lines.map { Range(start: Position(line: $0.start), end: Position(line: $0.end)) }
        }
    }
    private struct Source: Encodable {
        var filename: String
        var data: Data
        var language = "Dockerfile"
    }
    private struct Warning: Encodable {
        var ruleName: String
        var description: String
        var url: String
        var detail: String
        var location: Location
    }
    private struct BuildError: Encodable {
        var message: String
        var location: Location
    }
    private struct LintReport: Encodable {
        var warnings: [Warning]
        var sources: [Source]
        var buildError: BuildError?
    }
    private struct Target: Encodable {
        var name: String?
        var isDefault: Bool?
        var description: String?
        var base: String
        var platform: String?
        var location: Location

        enum CodingKeys: String, CodingKey {
            case name, description, base, platform, location
            case isDefault = "default"
        }
    }
    private struct TargetList: Encodable {
        var targets: [Target]
        var sources: [Data]
    }

    /// Answers what needs no Dockerfile; nil for what does.
    ///
    /// Throws for a request that is not known.
    static func answer(_ request: String) throws -> FrontendOutput? {
        switch request {
        case "frontend.lint", "frontend.targets": return nil
        case "frontend.subrequests.describe": return try describe()
        default:
            throw DockerfileError(.unsupportedSubrequest(request), "unsupported request \(request)")
        }
    }

    private static func describe() throws -> FrontendOutput {
        let names = ["result.json", "result.txt"].map { Description.Name(name: $0) }
        let list = [
            Description(
                name: "frontend.lint", version: "1.0.0", description: "Lint a Dockerfile",
                metadata: names + [Description.Name(name: "result.statuscode")]),
            Description(
                name: "frontend.subrequests.describe", version: "1.0.0", description: "List available subrequest types",
                metadata: names),
            Description(
                name: "frontend.targets", version: "1.0.0", description: "List all targets current build supports",
                metadata: names),
        ]
        let text = list.map { "\($0.name)\t\($0.version)\t\($0.description)\n" }.joined()
        return output(try encode(list), text: "NAME\tVERSION\tDESCRIPTION\n" + text)
    }

    static func targets(_ file: ParsedDockerfile, _ source: DockerfileSource) throws -> FrontendOutput {
        let targets = file.stages.enumerated().map { number, stage in
            Target(
                name: stage.name.isEmpty ? nil : stage.name, isDefault: number == file.stages.count - 1 ? true : nil,
                description: description(of: stage), base: stage.baseName,
                platform: stage.platform.isEmpty ? nil : stage.platform, location: Location([stage.lines]))
        }
        let list = TargetList(targets: targets, sources: [Data(source.bytes)])
        var text = "TARGET\tDESCRIPTION\n"
        for (number, target) in targets.enumerated() {
            let marker = target.isDefault == true ? " (default)" : ""
            text += "\(target.name ?? String(number))\(marker)\t\(target.description ?? "")\n"
        }
        return output(try encode(list), text: text)
    }

    /// `# name what it is` directly above FROM describes the stage.
    private static func description(of stage: Stage) -> String? {
        guard let comment = stage.comments.last, !stage.name.isEmpty else { return nil }
        let word = comment.prefix { !$0.isWhitespace }
        guard word.lowercased() == stage.name else { return nil }
        return String(comment.dropFirst(word.count).trimmed)
    }

    static func lint(
        _ violations: [Linter.Violation], failure: DockerfileError?, source: DockerfileSource
    ) -> FrontendOutput {
        let warnings = violations.map {
            Warning(
                ruleName: $0.rule.rawValue, description: $0.rule.detail, url: $0.rule.url, detail: $0.message,
                location: Location($0.lines))
        }
        let report = LintReport(
            warnings: warnings, sources: [Source(filename: source.filename, data: Data(source.bytes))],
            buildError: failure.map { BuildError(message: $0.message, location: Location($0.lines)) })
        var text = ""
        for violation in violations {
            let line = violation.lines.first?.start ?? 0
            text += "\nWARNING: \(violation.rule.rawValue) - \(violation.rule.url)\n\(violation.message)\n"
            text += "\(source.filename):\(line)\n"
        }
        if let failure { text += "\nERROR: \(failure.message)\n" }
        let fails = failure != nil || !violations.isEmpty
        // Encoding fixed structures of texts and numbers does not fail; an empty report would be the honest rest.
        var result = output((try? encode(report)) ?? [], text: text)
        result.metadata["result.statuscode"] = Array((fails ? "1" : "0").utf8)
        return result
    }

    private static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(value))
    }

    private static func output(_ json: [UInt8], text: String) -> FrontendOutput {
        let metadata: [String: [UInt8]] = [
            "result.json": json, "result.txt": Array(text.utf8), "version": Array("1.0.0".utf8),
        ]
        return FrontendOutput(results: [], isMultiPlatform: false, metadata: metadata, warnings: [])
    }
}
