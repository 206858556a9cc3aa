internal import FoundationEssentials
internal import LLB
internal import OCI

/// Where a build context comes from.
enum ContextSource: Sendable {
    /// A directory of the client, by the name that its session knows.
    case local(String)
    case git(GitReference)
    /// A tar file at a URL.
    case archive(String)
    /// A URL whose content is no archive: a Dockerfile.
    case file(String)
    /// A graph that came with the request.
    case definition(Pb_Definition)

    /// Name of the one file that an HTTP context makes.
    static let fileName = "context"

    /// Adds the source to a builder; `followPaths` of a local one are set later.
    func add(
        to builder: inout DefinitionBuilder, name: String, hint: String, excludes: [String], sessionID: String
    ) throws(DockerfileError) -> DefinitionBuilder.Edge? {
        switch self {
        case .local(let directory):
            return builder.addLocal(
                directory, name: name, hint: hint, sessionID: sessionID,
                attributes: excludes.isEmpty ? [:] : ["local.excludepatterns": TextList.json(excludes)])
        case .git(let reference):
            return builder.addSource(reference.identifier, reference.attributes(keepsGitDirectory: false), name: name)
        case .file(let url): return Self.addFile(url, to: &builder)
        case .archive(let url):
            let file = Self.addFile(url, to: &builder)
            var copy = Pb_FileActionCopy()
            copy.src = "/" + Self.fileName
            copy.dest = "/"
            copy.mode = -1
            copy.timestamp = -1
            copy.attemptUnpackDockerCompatibility = true
            copy.createDestPath = true
            return builder.addFile([.init(copy: copy, source: file)], over: nil, metadata: .named(name))
        case .definition(let definition):
            do { return try builder.add(definition) } catch {
                throw DockerfileError(.invalidAttribute, "invalid input definition: \(error)")
            }
        }
    }

    static func addFile(_ url: String, to builder: inout DefinitionBuilder) -> DefinitionBuilder.Edge {
        builder.addSource(url, ["http.filename": fileName], name: "[internal] load remote build context")
    }
}

/// JSON texts of string lists, which source attributes use.
enum TextList {
    static func json(_ texts: [String]) -> String {
        "[" + texts.map { quoted($0) }.joined(separator: ",") + "]"
    }

    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                if scalar.value < 0x20 {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}
