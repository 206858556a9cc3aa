internal import Testing

@testable internal import DockerfileFrontend

struct SyntaxTests {
    private func read(_ text: String) throws -> [RawInstruction] { try LineReader.read(Array(text.utf8)).instructions }

    @Test func `continuation lines join and comments among them vanish`() throws {
        let raw = try read("RUN a \\\n  # note\n\n  b \\\n  c\nCMD x\n")
        #expect(raw.map(\.arguments) == ["a   b   c", "x"])
        #expect(raw.map(\.lines) == [LineRange(1, 5), LineRange(6, 6)])
    }

    @Test func `a doubled escape does not continue`() throws {
        #expect(try read("RUN a\\\\\nCMD b").map(\.name) == ["RUN", "CMD"])
    }

    @Test func `the escape directive changes the character`() throws {
        #expect(try read("# escape=`\nRUN dir c:\\ `\n  x").map(\.arguments) == ["dir c:\\   x"])
    }

    @Test func `directives end at the first other line`() throws {
        let result = try LineReader.read(Array("# note\n# escape=`\nRUN a \\\n b".utf8))
        #expect(result.directives.escape == "\\")
        #expect(throws: DockerfileError.self) { try LineReader.read(Array("# escape=\\\n# escape=`\nRUN a".utf8)) }
    }

    @Test func `here-documents are taken whole`() throws {
        let raw = try read("RUN <<A cat <<-'B'\n$x # y\nA\n\tb\n\tB\nCMD z")
        #expect(raw[0].heredocs.map(\.name) == ["A", "B"])
        #expect(raw[0].heredocs.map(\.expands) == [true, false])
        #expect(raw[0].heredocs.map(\.text) == ["$x # y\n", "b\n"])
        #expect(raw[0].lines == LineRange(1, 5))
        #expect(raw[1].name == "CMD")
        #expect(throws: DockerfileError.self) { try read("RUN <<A\nx") }
    }

    @Test func `a byte order mark and CR LF are no part of the text`() throws {
        #expect(try read("\u{FEFF}FROM a\r\nRUN b \\\r\n c\r\n").map(\.arguments) == ["a", "b  c"])
    }

    @Test(arguments: [
        (#"["a","b"]"#, JSONStringArray.Outcome.strings(["a", "b"])), (" [ ] ", .strings([])),
        (#"["\u00e9\n\ud83d\ude00"]"#, .strings(["é\n😀"])), ("[1]", .otherElements), ("[a]", .noArray),
        (#"["a"] x"#, .noArray), (#"["a",]"#, .noArray), (#"["a""#, .noArray), (#"["\x"]"#, .noArray), ("", .noArray),
    ])
    func `exec forms are JSON arrays of strings`(text: String, expected: JSONStringArray.Outcome) {
        #expect(JSONStringArray.parse(text) == expected)
    }

    @Test(arguments: [
        ("0", "0s"), ("30s", "30s"), ("5m", "5m0s"), ("1h30m", "1h30m0s"), ("1500ms", "1.5s"), ("10us", "10µs"),
    ])
    func `durations read and write as Go does`(text: String, expected: String) throws {
        #expect(GoText.duration(try #require(GoText.parseDuration(text))) == expected)
    }

    @Test(arguments: [
        (Int64(0), "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"), (-1, "1969-12-31T23:59:59Z"),
        (1_700_000_000, "2023-11-14T22:13:20Z"),
    ])
    func `seconds become calendar times`(seconds: Int64, expected: String) {
        #expect(CalendarText.utc(seconds: seconds) == expected)
    }

    @Test func `ignore files become clean patterns`() throws {
        let text = "# note\n\n/a/ \n!b/../c\n  **/x  \n./d//e\n"
        #expect(try IgnoreFile.patterns(Array(text.utf8)) == ["a", "!c", "**/x", "d/e"])
    }

    @Test(arguments: [
        ("https://host/a.git#v1:dir", "git://host/a.git#v1:dir"), ("git@host:a/b.git", "git://host/a/b.git"),
        ("github.com/a/b", nil), ("git://host/x", "git://host/x"), ("https://host/a.tar", nil), ("dir/file", nil),
        ("ssh://git@host/x#main", "git://host/x#main"), ("https://host/a.git?ref=v2&subdir=d", "git://host/a.git#v2:d"),
    ])
    func `git addresses are told from others`(text: String, identifier: String?) {
        #expect(GitReference(text)?.identifier == identifier)
    }

    @Test func `a file that is too long is refused`() {
        let bytes = [UInt8](repeating: UInt8(ascii: "x"), count: DockerfileLimits.dockerfileBytesMax + 1)
        #expect(throws: DockerfileError.self) { try LineReader.read(bytes) }
    }

    @Test(arguments: UInt64(0)..<64)
    func `random bytes never crash the parser`(seed: UInt64) {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1
        let pieces = [
            "FROM a\n", "RUN ", "<<A", "\n", "A\n", "\\\n", "$", "{", "x:-", "}", "\"", "'", "--mount=", "[", "]", ",",
            "#",
            "COPY ", " /", "\t", "é", "\r\n", "--from=", "ENV a=", "ONBUILD ", "HEALTHCHECK ", "\u{0}",
        ]
        var text = "FROM a\n"
        for _ in 0..<60 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            text += pieces[Int(state >> 33) % pieces.count]
        }
        _ = try? ParsedDockerfile(Array(text.utf8))
    }
}
