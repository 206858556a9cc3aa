/// `--progress tty`: a block that is redrawn in place, with the last lines of what is running.
package struct TerminalProgress: ProgressPrinter {
    /// Vertices that are drawn; older ones that are done give way.
    private static let rowsMax = 24
    /// Lines of output of a running vertex.
    private static let logLinesMax = 6

    private struct Row {
        var vertex: ProgressUpdate.Vertex
        var statuses: [ProgressUpdate.Status] = []
        var lines: [String] = []
        var partial: [UInt8] = []
    }

    private let columns: @Sendable () -> Int
    private var rows: [Row] = []
    private var indexes: [String: Int] = [:]
    private var known: Set<String> = []
    private var began: Int64?
    /// Lines on the screen that the next drawing replaces.
    private var drawnLines = 0
    private var hasNews = false

    package init(columns: @escaping @Sendable () -> Int) { self.columns = columns }

    package mutating func text(for update: ProgressUpdate) -> String {
        hasNews = true
        for vertex in update.vertices {
            known.insert(vertex.digest)
            guard let started = vertex.started else { continue }
            began = min(began ?? started, started)
            if let index = indexes[vertex.digest] {
                rows[index].vertex = vertex
            } else {
                indexes[vertex.digest] = rows.count
                rows.append(Row(vertex: vertex))
            }
        }
        for status in update.statuses { take(status) }
        for log in update.logs { take(log) }
        return ""
    }

    private mutating func take(_ status: ProgressUpdate.Status) {
        guard let index = indexes[status.vertex] else { return }
        if let place = rows[index].statuses.firstIndex(where: { $0.id == status.id }) {
            rows[index].statuses[place] = status
        } else {
            rows[index].statuses.append(status)
        }
    }

    private mutating func take(_ log: ProgressUpdate.Log) {
        guard let index = indexes[log.vertex] else { return }
        rows[index].partial += log.bytes
        while let newline = rows[index].partial.firstIndex(of: UInt8(ascii: "\n")) {
            let age = ProgressText.precise(log.timestamp - (rows[index].vertex.started ?? log.timestamp))
            // What a step prints must not move the cursor inside our block.
            let line = ProgressText.printable(rows[index].partial[..<newline].filter { $0 >= 0x20 || $0 == 0x0D })
            rows[index].lines.append("\(age) \(line)")
            rows[index].partial.removeSubrange(...newline)
        }
        rows[index].lines = rows[index].lines.suffix(20)
    }

    package mutating func tick(at now: Int64) -> String {
        guard hasNews || rows.contains(where: { $0.vertex.completed == nil }) else { return "" }
        hasNews = false
        return redraw(at: now, isLast: false)
    }

    package mutating func end(at now: Int64) -> String {
        let failures = rows.filter { !$0.vertex.error.isEmpty && !$0.vertex.error.hasSuffix("context canceled") }
        return redraw(at: now, isLast: true)
            + failures.map { FailedStep(name: $0.vertex.name, tail: $0.lines).text }.joined()
    }

    private mutating func redraw(at now: Int64, isLast: Bool) -> String {
        guard !rows.isEmpty else { return "" }
        let width = max(20, columns())
        let done = rows.count { $0.vertex.completed != nil }
        let state = isLast ? (rows.contains { !$0.vertex.error.isEmpty } ? " ERROR" : " FINISHED") : ""
        let elapsed = ProgressText.seconds(now - (began ?? now))
        var lines = ["[+] Building \(elapsed)s (\(done)/\(known.count))\(state)"]
        for row in isLast ? rows[...] : rows.suffix(Self.rowsMax) {
            lines += draw(row, at: now, width: width, isLast: isLast)
        }
        let up = drawnLines > 0 ? "\u{1B}[\(drawnLines)A" : ""
        drawnLines = lines.count
        return up + "\u{1B}[0J" + lines.map { String($0.prefix(width)) + "\n" }.joined()
    }

    private func draw(_ row: Row, at now: Int64, width: Int, isLast: Bool) -> [String] {
        let vertex = row.vertex
        let mark =
            vertex.error.hasSuffix("context canceled")
            ? "CANCELED "
            : !vertex.error.isEmpty
                ? "ERROR "
                : vertex.isCached ? "CACHED " : ""
        let elapsed = ProgressText.seconds((vertex.completed ?? now) - (vertex.started ?? now)) + "s"
        var lines = [Self.line(" => \(mark)\(vertex.name)", elapsed, width: width)]
        guard vertex.completed == nil, !isLast else { return lines }
        for status in row.statuses where status.completed == nil {
            lines.append(Self.line(" => => \(ProgressText.status(status))", "", width: width))
        }
        lines += row.lines.suffix(Self.logLinesMax).map { " => => # \($0)" }
        return lines
    }

    /// Text on the left, time at the right edge.
    private static func line(_ text: String, _ time: String, width: Int) -> String {
        let room = width - time.count - 2
        guard text.count < room else { return text.prefix(room) + "  " + time }
        return text + String(repeating: " ", count: room - text.count + 2) + time
    }
}
