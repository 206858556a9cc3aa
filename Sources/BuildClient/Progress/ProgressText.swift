internal import Foundation

/// Numbers as `docker build` writes them.
enum ProgressText {
    /// Seconds with one decimal, such as `1.2`.
    static func seconds(_ nanoseconds: Int64) -> String { String(format: "%.1f", Double(max(0, nanoseconds)) / 1e9) }

    /// Seconds with three decimals, for the age of a line of output.
    static func precise(_ nanoseconds: Int64) -> String { String(format: "%.3f", Double(max(0, nanoseconds)) / 1e9) }

    /// Bytes in decimal units, such as `1.23MB`.
    static func bytes(_ count: Int64) -> String {
        let units = ["B", "kB", "MB", "GB", "TB", "PB"]
        var value = Double(count)
        var unit = 0
        while value >= 1_000, unit < units.count - 1 {
            value /= 1_000
            unit += 1
        }
        return unit == 0 ? "\(count)B" : String(format: "%.2f", value) + units[unit]
    }

    /// One status line without its vertex's number, such as `sha256:… 1.00MB / 2.00MB 0.3s done`.
    static func status(_ status: ProgressUpdate.Status) -> String {
        var text = status.id
        if status.total > 0 {
            text += " \(bytes(status.current)) / \(bytes(status.total))"
        } else if status.current > 0 {
            text += " \(bytes(status.current))"
        }
        if let started = status.started {
            let elapsed = (status.completed ?? status.timestamp) - started
            if elapsed >= 50_000_000 { text += " \(seconds(elapsed))s" }
        }
        return status.completed == nil ? text : text + " done"
    }

    /// Lines of output without control characters that would move the cursor.
    static func printable(_ bytes: some Sequence<UInt8>) -> String {
        let text = String(decoding: Array(bytes), as: UTF8.self)
        guard let last = text.split(separator: "\r", omittingEmptySubsequences: true).last else { return "" }
        return String(last)
    }
}
