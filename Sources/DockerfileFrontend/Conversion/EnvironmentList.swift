/// Variables in the order in which they were last set.
struct EnvironmentList: Hashable, Sendable {
    private(set) var entries: [(key: String, value: String)] = []

    subscript(key: String) -> String? { entries.last { $0.key == key }?.value }

    /// A variable that is set again moves to the end.
    mutating func set(_ key: String, _ value: String) {
        entries.removeAll { $0.key == key }
        entries.append((key, value))
    }

    /// `key=value` texts.
    var texts: [String] { entries.map { $0.key + "=" + $0.value } }

    var keys: [String] { entries.map(\.key) }

    static func == (left: Self, right: Self) -> Bool { left.texts == right.texts }
    func hash(into hasher: inout Hasher) { hasher.combine(texts) }
}
