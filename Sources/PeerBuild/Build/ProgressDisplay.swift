internal import BuildClient
internal import Foundation

/// Writes a build's progress as it comes, and redraws it ten times a second while it runs.
actor ProgressDisplay {
    private static let redrawMilliseconds = 100

    private var printer: any ProgressPrinter
    private let write: @Sendable (String) -> Void

    init(_ printer: any ProgressPrinter, write: @escaping @Sendable (String) -> Void) {
        self.printer = printer
        self.write = write
    }

    func show(_ update: ProgressUpdate) { write(printer.text(for: update)) }
    func finish() { write(printer.end(at: Self.now())) }

    /// Redraws until its task is cancelled.
    func draw() async {
        while !Task.isCancelled {
            write(printer.tick(at: Self.now()))
            try? await Task.sleep(for: .milliseconds(Self.redrawMilliseconds))
        }
    }

    private static func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1e9) }
}
