/// A build stage as written: FROM and what follows it.
struct Stage: Hashable, Sendable {
    /// The name after AS, in lower case; empty when there is none.
    var name: String
    /// The name after AS as written.
    var writtenName: String
    /// What follows FROM, not expanded.
    var baseName: String
    var platform: String
    var original: String
    /// The words FROM and AS as written.
    var fromKeyword: String
    var asKeyword: String
    var instructions: [Instruction] = []
    var lines: LineRange
    var comments: [String] = []
}

/// A Dockerfile, understood: global arguments and stages.
struct ParsedDockerfile: Sendable {
    var directives: ParserDirectives
    /// ARG instructions before the first FROM.
    var globalArguments: [Instruction]
    var stages: [Stage]
    var emptyContinuations: [LineRange]
    /// The keywords in order, for the casing rule.
    var keywords: [(String, LineRange)]

    init(_ bytes: [UInt8]) throws(DockerfileError) {
        let file = try LineReader.read(bytes)
        directives = file.directives
        globalArguments = []
        stages = []
        emptyContinuations = file.emptyContinuations
        keywords = file.instructions.map { ($0.keyword, $0.lines) }
        let parser = InstructionParser(escape: directives.escape)
        for raw in file.instructions {
            do throws(DockerfileError) {
                if raw.name == "FROM" {
                    stages.append(try parser.stage(raw))
                    guard stages.count <= DockerfileLimits.stagesMax else {
                        throw DockerfileError(
                            .limitExceeded, "the Dockerfile has more than \(DockerfileLimits.stagesMax) stages")
                    }
                    continue
                }
                let instruction = try parser.instruction(raw)
                if !stages.isEmpty {
                    stages[stages.count - 1].instructions.append(instruction)
                } else if case .arg = instruction.body {
                    globalArguments.append(instruction)
                } else {
                    throw DockerfileError(.syntax, "no build stage in current context")
                }
            } catch {
                guard error.code == .syntax || error.code == .invalidInstruction else {
                    throw error.located(at: [raw.lines])
                }
                throw .syntax(error.message, line: raw.lines.start, lines: [raw.lines])
            }
        }
        guard !stages.isEmpty else { throw DockerfileError(.syntax, "dockerfile contains no stages to build") }
    }
}
