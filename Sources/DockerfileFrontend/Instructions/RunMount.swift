/// One `--mount` of RUN.
struct RunMount: Hashable, Sendable {
    enum Kind: String, CaseIterable, Hashable, Sendable {
        case bind, cache, tmpfs, secret, ssh
    }

    enum Sharing: String, CaseIterable, Hashable, Sendable {
        case shared, `private`, locked
    }

    var kind = Kind.bind
    var from = ""
    var source = ""
    var target = ""
    var isReadOnly = true
    var id = ""
    var sharing: Sharing?
    var isRequired = false
    /// Bytes; 0 is no limit.
    var size: Int64 = 0
    var mode: UInt32?
    var uid: UInt32?
    var gid: UInt32?
    /// Variable that gets a secret.
    var env: String?

    private static let keys = [
        "type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw",
        "required",
        "id", "sharing", "mode", "uid", "gid", "env", "size",
    ]

    /// Reads `key=value,…`, a line of CSV.
    ///
    /// `expand` is applied to the values, but `from` must not have variables.
    init(_ text: String, expand: (String) throws(DockerfileError) -> String) throws(DockerfileError) {
        var explicitReadOnly: Bool?
        guard let fields = Self.fields(of: text) else { throw Self.fault("failed to parse csv mounts: \(text)") }
        for field in fields {
            let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let key = parts[0].lowercased()
            if parts.count == 1 {
                switch key {
                case "readonly", "ro": explicitReadOnly = true
                case "readwrite", "rw": explicitReadOnly = false
                case "required": isRequired = true
                default:
                    throw Self.fault("invalid field '\(field)' must be a key=value pair")
                }
                continue
            }
            var value = parts[1]
            if key == "from" {
                if value.contains("$") {
                    throw Self.fault("'\(value)' doesn't support variable expansion, define alias stage instead")
                }
            } else {
                value = try expand(value)
            }
            switch key {
            case "readonly", "ro": explicitReadOnly = try Self.boolean(value, key)
            case "readwrite", "rw": explicitReadOnly = try !Self.boolean(value, key)
            default: try set(key, value, field: field)
            }
        }
        isReadOnly = explicitReadOnly ?? !(kind == .cache || kind == .tmpfs)
        try validate()
    }

    /// What `from` names, without reading the rest; empty when there is none.
    static func sourceName(in text: String) throws(DockerfileError) -> String {
        guard let fields = fields(of: text) else { throw fault("failed to parse csv mounts: \(text)") }
        for field in fields where field.lowercased().hasPrefix("from=") {
            let name = String(field.dropFirst("from=".count))
            guard !name.contains("$") else {
                throw fault("'\(name)' doesn't support variable expansion, define alias stage instead")
            }
            return name
        }
        return ""
    }

    private mutating func set(_ key: String, _ value: String, field: String) throws(DockerfileError) {
        switch key {
        case "type":
            guard let parsed = Kind(rawValue: value.lowercased()) else {
                throw Self.fault(
                    "unsupported mount type \(GoText.quoted(value))"
                        + GoText.hint(for: value, among: Kind.allCases.map(\.rawValue)))
            }
            kind = parsed
        case "from": from = value
        case "source", "src": source = value
        case "target", "dst", "destination": target = value
        case "required": isRequired = try Self.boolean(value, key)
        case "id": id = value
        case "sharing":
            guard let parsed = Sharing(rawValue: value.lowercased()) else {
                throw Self.fault(
                    "unsupported sharing value \(GoText.quoted(value))"
                        + GoText.hint(for: value, among: Sharing.allCases.map(\.rawValue)))
            }
            sharing = parsed
        case "mode":
            guard let parsed = UInt32(value, radix: 8), parsed <= 0o7777 else {
                throw Self.fault("invalid value \(value) for mode")
            }
            mode = parsed
        case "uid": uid = try Self.number(value, key)
        case "gid": gid = try Self.number(value, key)
        case "env": env = value
        case "size":
            guard let bytes = ByteCount.parse(value) else { throw Self.fault("invalid value for size: \(value)") }
            size = bytes
        default:
            throw Self.fault("unexpected key '\(key)' in '\(field)'" + GoText.hint(for: key, among: Self.keys))
        }
    }

    private func validate() throws(DockerfileError) {
        let hasOwner = mode != nil || uid != nil || gid != nil
        if hasOwner, kind == .bind || kind == .tmpfs {
            let name = mode != nil ? "mode" : uid != nil ? "uid" : "gid"
            throw Self.fault("\(name) not allowed for \(GoText.quoted(kind.rawValue)) type mounts")
        }
        if sharing != nil, kind != .cache { throw Self.fault("invalid cache sharing set for \(kind.rawValue) mount") }
        if env != nil, kind != .secret {
            throw Self.fault("env not allowed for \(GoText.quoted(kind.rawValue)) type mounts")
        }
        if kind == .secret {
            if !from.isEmpty { throw Self.fault("secret mount should not have a from") }
            if source.isEmpty, target.isEmpty, id.isEmpty {
                throw Self.fault("invalid secret mount. one of source, target required")
            }
            if !source.isEmpty, !id.isEmpty { throw Self.fault("both source and id can't be set") }
        }
        if kind != .secret, kind != .ssh, target.isEmpty { throw Self.fault("invalid mount target \"\"") }
    }

    private static func fault(_ message: String) -> DockerfileError { DockerfileError(.invalidInstruction, message) }

    private static func boolean(_ value: String, _ key: String) throws(DockerfileError) -> Bool {
        guard let parsed = GoBool.parse(value) else { throw fault("invalid value for \(key): \(value)") }
        return parsed
    }

    private static func number(_ value: String, _ key: String) throws(DockerfileError) -> UInt32 {
        guard let parsed = UInt32(value) else { throw fault("invalid value \(value) for \(key)") }
        return parsed
    }

    /// The fields of one CSV line; nil when quotes do not match.
    static func fields(of text: String) -> [String]? {
        var fields: [String] = []
        var field = ""
        var isQuoted = false
        var previousWasQuote = false
        for character in text {
            if isQuoted {
                if character == "\"" {
                    isQuoted = false
                    previousWasQuote = true
                } else {
                    field.append(character)
                }
            } else if character == "\"" {
                if previousWasQuote { field.append("\"") }
                isQuoted = true
                previousWasQuote = false
            } else if character == "," {
                fields.append(field)
                field = ""
                previousWasQuote = false
            } else {
                field.append(character)
                previousWasQuote = false
            }
        }
        guard !isQuoted else { return nil }
        return fields + [field]
    }
}

/// Booleans as Go's `strconv.ParseBool` reads them.
enum GoBool {
    static func parse(_ text: String) -> Bool? {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": true
        case "0", "f", "F", "false", "FALSE", "False": false
        default: nil
        }
    }
}

/// Sizes such as `64m`, in powers of 1024.
enum ByteCount {
    static func parse(_ text: String) -> Int64? {
        var rest = text.lowercased()[...]
        if rest.hasSuffix("b") { rest.removeLast() }
        if rest.hasSuffix("i") { rest.removeLast() }
        var shift = 0
        if let unit = rest.last, let index = ["k", "m", "g", "t", "p"].firstIndex(of: String(unit)) {
            shift = (index + 1) * 10
            rest.removeLast()
        }
        guard let value = Double(rest.trimmed), value >= 0, value * Double(1 << shift) < 9.2e18 else { return nil }
        return Int64(value * Double(1 << shift))
    }
}
