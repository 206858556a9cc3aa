/// `--progress plain`: numbered vertices, one block at a time, for logs.
package struct PlainProgress: ProgressPrinter {
    /// Log lines of a failed vertex that are repeated at the end.
    private static let tailLinesMax = 20

    /// Bytes without a newline that are waited for; more are a line.
    private static let lineBytesMax = 64 * 1_024

    private struct Step {
        let number: Int
        var vertex: ProgressUpdate.Vertex
        /// Output that has no newline yet, by stream.
        var partial: [Int64: [UInt8]] = [:]
        var tail: [String] = []
        var announced: Set<String> = []
        /// Whether its name has been printed.
        var isShown = false
        var isEnded = false
    }

    private var steps: [String: Step] = [:]
    private var waiting = ProgressUpdate()
    private var numbers = 0
    private var focused: String?
    private var failed: [String] = []

    package init() {}

    /// Updates wait for the next tick, so that what belongs together is printed together.
    package mutating func text(for update: ProgressUpdate) -> String {
        waiting.append(update)
        return ""
    }

    package mutating func tick(at now: Int64) -> String { flush() }

    /// All that waits, vertex by vertex: its progress, its output, its end.
    ///
    /// The one in focus comes first.
    private mutating func flush() -> String {
        let update = waiting
        waiting = ProgressUpdate()
        var out = ""
        for vertex in update.vertices { open(vertex) }
        let touched = Set(
            update.vertices.map(\.digest) + update.statuses.map(\.vertex) + update.logs.map(\.vertex)
                + update.warnings.map(\.vertex))
        let order = touched.compactMap { steps[$0] }.sorted { left, right in
            let (isLeft, isRight) = (left.vertex.digest == focused, right.vertex.digest == focused)
            return isLeft != isRight ? isLeft : left.number < right.number
        }
        for step in order {
            let digest = step.vertex.digest
            var lines = ""
            for status in update.statuses where status.vertex == digest { show(status, &lines) }
            for log in update.logs where log.vertex == digest { show(log, &lines) }
            for warning in update.warnings where warning.vertex == digest { show(warning, &lines) }
            if step.vertex.completed != nil { close(step.vertex, &lines) }
            guard !lines.isEmpty || !step.isShown else { continue }
            steps[digest]?.isShown = true
            focus(digest, &out)
            out += lines
        }
        return out
    }

    private mutating func open(_ vertex: ProgressUpdate.Vertex) {
        guard vertex.started != nil else { return }
        if steps[vertex.digest] == nil {
            numbers += 1
            steps[vertex.digest] = Step(number: numbers, vertex: vertex)
            return
        }
        // A vertex that starts anew is shown anew under its number.
        let isRestarted =
            steps[vertex.digest]?.isEnded == true && steps[vertex.digest]?.vertex.started != vertex.started
        if isRestarted, !vertex.isCached { steps[vertex.digest]?.isEnded = false }
        steps[vertex.digest]?.vertex = vertex
    }

    /// Makes a vertex the one whose lines are printed, with a header when it was another one before.
    private mutating func focus(_ digest: String, _ out: inout String) {
        guard focused != digest, let step = steps[digest] else { return }
        if let focused, let old = steps[focused] {
            if !old.isEnded { out += "#\(old.number) ...\n" }
            out += "\n"
        }
        focused = digest
        out += "#\(step.number) \(step.vertex.name)\n"
    }

    private mutating func show(_ status: ProgressUpdate.Status, _ out: inout String) {
        guard let step = steps[status.vertex] else { return }
        let isNew = !step.announced.contains(status.id)
        guard isNew && status.current == 0 || status.completed != nil else { return }
        let key = status.completed == nil ? status.id : status.id + "\u{0}done"
        guard steps[status.vertex]?.announced.insert(key).inserted == true else { return }
        out += "#\(step.number) \(ProgressText.status(status))\n"
    }

    private mutating func show(_ log: ProgressUpdate.Log, _ out: inout String) {
        guard var step = steps[log.vertex] else { return }
        let age = ProgressText.precise(log.timestamp - (step.vertex.started ?? log.timestamp))
        let bytes = (step.partial[log.stream] ?? []) + log.bytes
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let rest = lines.popLast() ?? []
        if rest.count > Self.lineBytesMax { lines.append(rest) }
        step.partial[log.stream] = rest.count > Self.lineBytesMax ? [] : Array(rest)
        for line in lines {
            let text = "\(age) \(ProgressText.printable(line))"
            out += "#\(step.number) \(text)\n"
            step.tail = (step.tail + [text]).suffix(Self.tailLinesMax)
        }
        steps[log.vertex] = step
    }

    private mutating func show(_ warning: ProgressUpdate.Warning, _ out: inout String) {
        guard let step = steps[warning.vertex] else { return }
        let place = warning.place.isEmpty ? "" : " (\(warning.place))"
        out += "#\(step.number) WARN: \(warning.short)\(place)\n"
    }

    private mutating func close(_ vertex: ProgressUpdate.Vertex, _ out: inout String) {
        guard var step = steps[vertex.digest], !step.isEnded else { return }
        let age = ProgressText.precise((vertex.completed ?? 0) - (vertex.started ?? 0))
        for (_, rest) in step.partial.sorted(by: { $0.key < $1.key }) where !rest.isEmpty {
            let line = "\(age) \(ProgressText.printable(rest))"
            out += "#\(step.number) \(line)\n"
            step.tail = (step.tail + [line]).suffix(Self.tailLinesMax)
        }
        step.partial = [:]
        step.isEnded = true
        steps[vertex.digest] = step
        if vertex.error.hasSuffix("context canceled") {
            out += "#\(step.number) CANCELED\n"
        } else if !vertex.error.isEmpty {
            out += "#\(step.number) ERROR: \(vertex.error)\n"
            failed.append(vertex.digest)
        } else if vertex.isCached {
            out += "#\(step.number) CACHED\n"
        } else {
            let elapsed = (vertex.completed ?? 0) - (vertex.started ?? 0)
            out += "#\(step.number) DONE \(ProgressText.seconds(elapsed))s\n"
        }
    }

    /// The last lines of what failed.
    package mutating func end(at now: Int64) -> String {
        flush() + failed.compactMap { steps[$0] }.map { FailedStep(name: $0.vertex.name, tail: $0.tail).text }.joined()
    }
}

/// The end of a failed vertex's output, framed.
struct FailedStep {
    let name: String
    let tail: [String]

    var text: String { "------\n > \(name):\n" + tail.map { $0 + "\n" }.joined() + "------\n" }
}
