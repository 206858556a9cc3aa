internal import Glibc

/// Which permission bits copied entries get.
enum CopyMode: Equatable {
    /// Those of the source.
    case keep
    case bits(UInt32)
    /// Symbolic changes as chmod(1) takes them, such as `u=rwX,go-w`.
    case symbolic([Change])

    struct Change: Equatable {
        /// Permission bits of the classes that it concerns, all three of each: 0o700, 0o070, 0o007.
        var classes: UInt32
        var operation: Character
        var permissions: String
    }

    /// Reads a symbolic mode.
    init(symbolic text: String) throws(OperationError) {
        var changes: [Change] = []
        for clause in text.split(separator: ",", omittingEmptySubsequences: false) {
            let who = clause.prefix { "ugoa".contains($0) }
            var rest = clause.dropFirst(who.count)
            guard let first = rest.first, "+-=".contains(first) else { throw Self.malformed(text) }
            while let operation = rest.popFirst() {
                guard "+-=".contains(operation) else { throw Self.malformed(text) }
                let permissions = rest.prefix { !"+-=".contains($0) }
                guard permissions.allSatisfy({ "rwxXst".contains($0) }) else { throw Self.malformed(text) }
                rest = rest.dropFirst(permissions.count)
                changes.append(
                    Change(classes: Self.classes(who), operation: operation, permissions: String(permissions)))
            }
        }
        self = .symbolic(changes)
    }

    /// The mode bits that an entry of mode `mode` gets.
    func apply(to mode: UInt32, isDirectory: Bool) -> UInt32 {
        switch self {
        case .keep: mode & 0o7777
        case .bits(let bits): bits & 0o7777
        case .symbolic(let changes):
            changes.reduce(mode & 0o7777) { Self.apply($1, to: $0, isDirectory: isDirectory) }
        }
    }

    private static func apply(_ change: Change, to mode: UInt32, isDirectory: Bool) -> UInt32 {
        var bits: UInt32 = 0
        for permission in change.permissions {
            switch permission {
            case "r": bits |= 0o444 & change.classes
            case "w": bits |= 0o222 & change.classes
            case "x": bits |= 0o111 & change.classes
            case "X" where isDirectory || mode & 0o111 != 0: bits |= 0o111 & change.classes
            case "s": bits |= (change.classes & 0o700 != 0 ? 0o4000 : 0) | (change.classes & 0o070 != 0 ? 0o2000 : 0)
            case "t": bits |= 0o1000
            default: continue
            }
        }
        switch change.operation {
        case "+": return mode | bits
        case "-": return mode & ~bits
        default: return mode & ~change.classes | bits
        }
    }

    private static func classes(_ who: Substring) -> UInt32 {
        guard !who.isEmpty, !who.contains("a") else { return 0o777 }
        return (who.contains("u") ? 0o700 : 0) | (who.contains("g") ? 0o070 : 0) | (who.contains("o") ? 0o007 : 0)
    }

    private static func malformed(_ text: String) -> OperationError {
        .invalid("invalid mode \"\(text)\": expected clauses such as u=rwX,go-w")
    }
}
