internal import Foundation
internal import Glibc

/// The two streams of a command: results on standard output, all else on standard error.
enum Terminal {
    private static let defaultColumns = 80

    static var isInteractive: Bool { isatty(STDERR_FILENO) == 1 }

    /// Width of the terminal on standard error.
    @Sendable static func columns() -> Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return defaultColumns }
        return Int(size.ws_col)
    }

    static func printResult(_ text: String) { write(text + "\n", to: .standardOutput) }
    static func printError(_ text: String) { write(text + "\n", to: .standardError) }
    static func writeProgress(_ text: String) { write(text, to: .standardError) }

    /// A reader that has gone (`| head`) is no failure of ours.
    private static func write(_ text: String, to file: FileHandle) {
        guard !text.isEmpty else { return }
        try? file.write(contentsOf: Data(text.utf8))
    }
}
