internal import BuildClient
internal import Foundation
internal import Testing

@Suite struct ProgressTests {
    private static let second: Int64 = 1_000_000_000

    private static func vertex(
        _ digest: String, _ name: String, _ started: Double? = nil, _ completed: Double? = nil, cached: Bool = false,
        error: String = ""
    ) -> ProgressUpdate.Vertex {
        var vertex = ProgressUpdate.Vertex(digest: digest, name: name)
        vertex.started = started.map { Int64($0 * 1e9) }
        vertex.completed = completed.map { Int64($0 * 1e9) }
        vertex.isCached = cached
        vertex.error = error
        return vertex
    }

    private static func update(
        _ vertices: [ProgressUpdate.Vertex] = [], statuses: [ProgressUpdate.Status] = [],
        logs: [(String, Double, String)] = [],
        warnings: [ProgressUpdate.Warning] = []
    ) -> ProgressUpdate {
        var update = ProgressUpdate()
        update.vertices = vertices
        update.statuses = statuses
        update.logs = logs.map {
            ProgressUpdate.Log(vertex: $0.0, stream: 1, timestamp: Int64($0.1 * 1e9), bytes: Array($0.2.utf8))
        }
        update.warnings = warnings
        return update
    }

    @Test func `plain progress of a build reads as docker's`() {
        var status = ProgressUpdate.Status(id: "transferring dockerfile:", vertex: "a")
        status.current = 120
        status.started = Self.second
        status.completed = Self.second + 1
        var warning = ProgressUpdate.Warning(vertex: "b", short: "bad casing")
        warning.place = "Dockerfile:1"
        var printer = PlainProgress()
        var text = ""
        for update in [
            Self.update([Self.vertex("a", "[internal] load build definition", 1)]),
            Self.update([Self.vertex("a", "[internal] load build definition", 1, 1.04)], statuses: [status]),
            Self.update([Self.vertex("b", "[1/2] RUN one"), Self.vertex("c", "[2/2] RUN two")]),
            Self.update(
                [Self.vertex("b", "[1/2] RUN one", 2)], logs: [("b", 2.25, "half"), ("x", 2.3, "unannounced\n")]),
            Self.update([Self.vertex("c", "[2/2] RUN two", 2)], logs: [("c", 2.5, "other\n")]),
            Self.update(logs: [("b", 2.75, " line\nsecond\n")], warnings: [warning]),
            Self.update([Self.vertex("b", "[1/2] RUN one", 2, 3.5)]),
            Self.update([Self.vertex("c", "[2/2] RUN two", 2, 4, error: "exit code: 1")]),
            Self.update([Self.vertex("d", "COPY . .", 4, 4, cached: true)]),
            Self.update([Self.vertex("e", "RUN three", 4, 5, error: "context canceled")]),
        ] { text += printer.text(for: update) + printer.tick(at: 0) }
        text += printer.end(at: 0)
        #expect(
            text == """
                #1 [internal] load build definition
                #1 transferring dockerfile: 120B done
                #1 DONE 0.0s

                #2 [1/2] RUN one
                #2 ...

                #3 [2/2] RUN two
                #3 0.500 other
                #3 ...

                #2 [1/2] RUN one
                #2 0.750 half line
                #2 0.750 second
                #2 WARN: bad casing (Dockerfile:1)
                #2 DONE 1.5s

                #3 [2/2] RUN two
                #3 ERROR: exit code: 1

                #4 COPY . .
                #4 CACHED

                #5 RUN three
                #5 CANCELED
                ------
                 > [2/2] RUN two:
                0.500 other
                ------

                """)
    }

    @Test func `terminal progress redraws its block in place`() {
        var printer = TerminalProgress { 40 }
        #expect(printer.text(for: Self.update([Self.vertex("a", "RUN one", 1), Self.vertex("b", "RUN two")])) == "")
        _ = printer.text(for: Self.update(logs: [("a", 1.5, "hello\n")]))
        #expect(
            printer.tick(at: 2 * Self.second)
                == "\u{1B}[0J[+] Building 1.0s (0/2)\n => RUN one" + String(repeating: " ", count: 25)
                + "1.0s\n => => # 0.500 hello\n")
        _ = printer.text(for: Self.update([Self.vertex("a", "RUN one", 1, 3)]))
        #expect(
            printer.end(at: 3 * Self.second)
                == "\u{1B}[3A\u{1B}[0J[+] Building 2.0s (1/2) FINISHED\n => RUN one" + String(repeating: " ", count: 25)
                + "2.0s\n")
    }

    @Test func `raw progress is one JSON object a line`() throws {
        let update = Self.update([Self.vertex("sha256:a", "RUN", 1.5, 2)], logs: [("sha256:a", 2, "x")])
        #expect(
            JSONProgress().text(for: update)
                == #"{"logs":[{"data":"eA==","stream":1,"timestamp":"1970-01-01T00:00:02.000000000Z","vertex":"sha256:a"}],"#
                + #""vertexes":[{"completed":"1970-01-01T00:00:02.000000000Z","digest":"sha256:a","name":"RUN","#
                + #""started":"1970-01-01T00:00:01.500000000Z"}]}"# + "\n")
    }

    @Test func `quiet progress says nothing`() {
        var printer = ProgressMode.quiet.printer(isTerminal: true) { 80 }
        #expect(printer.text(for: Self.update([Self.vertex("a", "RUN", 1, 2)])) == "")
        #expect(printer.end(at: 0) == "")
    }
}
