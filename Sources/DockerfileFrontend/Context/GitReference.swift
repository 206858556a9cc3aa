/// A git repository named by URL, with what follows `#` or `?`.
struct GitReference: Hashable, Sendable {
    /// Without fragment and query.
    var remote: String
    /// Branch, tag or commit; empty is the default branch.
    var ref = ""
    var directory = ""
    var checksum = ""
    var keepsGitDirectory: Bool?
    var includesSubmodules: Bool?

    /// Reads `git://…`, `ssh://…`, `user@host:path`, `github.com/…` and `http(s)://….git`; nil for anything else.
    init?(_ text: String) {
        var rest = text[...]
        if rest.hasPrefix("github.com/") { rest = "https://" + rest }
        let fragment = Self.cut(&rest, at: "#")
        let query = Self.cut(&rest, at: "?")
        guard Self.isRemote(String(rest)) else { return nil }
        remote = String(rest)
        if let fragment {
            let parts = fragment.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            ref = String(parts[0])
            if parts.count == 2 { directory = String(parts[1]) }
        }
        for item in query?.split(separator: "&") ?? [] {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let value = parts.count == 2 ? parts[1] : ""
            switch parts[0] {
            case "ref", "branch", "tag": ref = value
            case "subdir": directory = value
            case "checksum", "commit": checksum = value
            case "keep-git-dir": keepsGitDirectory = value.isEmpty ? true : GoBool.parse(value)
            case "submodules": includesSubmodules = value.isEmpty ? true : GoBool.parse(value)
            default: return nil
            }
        }
    }

    private static func cut(_ text: inout Substring, at mark: Character) -> Substring? {
        guard let index = text.firstIndex(of: mark) else { return nil }
        defer { text = text[..<index] }
        return text[text.index(after: index)...]
    }

    private static func isRemote(_ text: String) -> Bool {
        for scheme in ["git://", "ssh://"] where text.hasPrefix(scheme) { return text.count > scheme.count }
        if text.hasPrefix("http://") || text.hasPrefix("https://") { return text.hasSuffix(".git") }
        guard !text.contains("://"), let at = text.firstIndex(of: "@"), let colon = text.firstIndex(of: ":") else {
            return false
        }
        let user = text[..<at]
        return at < colon && !user.isEmpty && !user.contains("/") && text.index(after: colon) < text.endIndex
    }

    var usesSSH: Bool { remote.hasPrefix("ssh://") || !remote.contains("://") }

    /// The source identifier: host and path, then `#ref[:directory]`.
    var identifier: String {
        var place = remote[...]
        if let scheme = place.firstRange(of: "://") {
            place = place[scheme.upperBound...]
        } else if let colon = place.firstIndex(of: ":") {
            place = place[..<colon] + "/" + place[place.index(after: colon)...]
        }
        if let slash = place.firstIndex(of: "/"), let at = place[..<slash].lastIndex(of: "@") {
            place = place[place.index(after: at)...]
        }
        var text = "git://" + place
        if !ref.isEmpty || !directory.isEmpty { text += "#" + ref }
        if !directory.isEmpty { text += ":" + directory }
        return text
    }

    /// The attributes of the source op.
    func attributes(keepsGitDirectory: Bool) -> [String: String] {
        var result = ["git.fullurl": remote]
        if self.keepsGitDirectory ?? keepsGitDirectory { result["git.keepgitdir"] = "true" }
        if includesSubmodules == false { result["git.skipsubmodules"] = "true" }
        if !checksum.isEmpty { result["git.checksum"] = checksum }
        if usesSSH {
            result["git.mountsshsock"] = "default"
        } else if remote.hasPrefix("http") {
            result["git.authtokensecret"] = "GIT_AUTH_TOKEN"
            result["git.authheadersecret"] = "GIT_AUTH_HEADER"
        }
        return result
    }
}
