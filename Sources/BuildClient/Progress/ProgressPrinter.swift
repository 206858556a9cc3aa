/// Turns progress into what is written to a terminal or log.
package protocol ProgressPrinter: Sendable {
    /// Text to write now for an update, empty for none.
    mutating func text(for update: ProgressUpdate) -> String
    /// Text that a passing tenth of a second calls for. `now` is in nanoseconds since 1970.
    mutating func tick(at now: Int64) -> String
    /// Text at the end of the build.
    mutating func end(at now: Int64) -> String
}

/// `--progress`.
package enum ProgressMode: String, Sendable, CaseIterable {
    case auto, tty, plain, quiet, rawjson

    /// The printer of a mode; `auto` is `tty` on a terminal and `plain` elsewhere.
    package func printer(isTerminal: Bool, columns: @escaping @Sendable () -> Int) -> any ProgressPrinter {
        switch self {
        case .auto where isTerminal, .tty: TerminalProgress(columns: columns)
        case .auto, .plain: PlainProgress()
        case .quiet: QuietProgress()
        case .rawjson: JSONProgress()
        }
    }
}

/// Says nothing.
package struct QuietProgress: ProgressPrinter {
    package init() {}
    package func text(for update: ProgressUpdate) -> String { "" }
    package func tick(at now: Int64) -> String { "" }
    package func end(at now: Int64) -> String { "" }
}
