/// A flag's value such as `type=oci,"dest=a,b.tar"`: comma-separated fields, quoted as CSV has it.
struct CSVFields: Hashable {
    private(set) var fields: [Field] = []

    struct Field: Hashable {
        let key: String
        /// Nil for a field without `=`.
        let value: String?
    }

    /// Splits `text`; `flag` is for messages.
    init(_ text: String, flag: String) throws(BuildPlanError) {
        for part in try Self.split(text, flag: flag) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let key = pair[0].lowercased().filter { $0 != " " }
            fields.append(Field(key: pair.count == 2 ? key : pair[0], value: pair.count == 2 ? pair[1] : nil))
        }
    }

    subscript(key: String) -> String? { fields.last { $0.key == key }?.value }

    /// The fields as attributes without those named.
    func attributes(without names: Set<String>) -> [String: String] {
        var attributes: [String: String] = [:]
        for field in fields where !names.contains(field.key) { attributes[field.key] = field.value ?? "" }
        return attributes
    }

    private static func split(_ text: String, flag: String) throws(BuildPlanError) -> [String] {
        var parts: [String] = []
        var current = ""
        var isQuoted = false
        var rest = Substring(text)
        while let character = rest.popFirst() {
            if character == "\"" {
                if isQuoted, rest.first == "\"" {
                    current.append("\"")
                    rest.removeFirst()
                } else {
                    isQuoted.toggle()
                }
            } else if character == ",", !isQuoted {
                parts.append(current)
                current = ""
            } else {
                current.append(character)
            }
        }
        guard !isQuoted else { throw BuildPlanError("\(flag) \(text): a quote is not closed") }
        parts.append(current)
        guard !parts.contains("") else { throw BuildPlanError("\(flag) \(text): a field is empty") }
        return parts
    }
}

/// A build that can't be submitted as asked.
struct BuildPlanError: Error, Hashable, CustomStringConvertible, UserFacing {
    let description: String

    init(_ description: String) { self.description = description }
}
