internal import Testing

@testable internal import DockerfileFrontend

struct ExpansionTests {
    private static let variables = [
        "name": "value", "empty": "", "path": "a/b/c.tar.gz", "u": "übung", "with": "a b", "p": "b*",
    ]

    @Test(arguments: [
        ("plain", "plain"), ("$name", "value"), ("${name}s", "values"), ("$unset.", "."), (#"\$name"#, "$name"),
        (#"a\ b"#, "a b"), ("'$name'", "$name"), ("\"$name\"", "value"), (#""\$name \x \\""#, #"$name \x \"#),
        ("${unset:-word}", "word"), ("${empty:-word}", "word"), ("${empty-word}", ""), ("${unset-word}", "word"),
        ("${name:-word}", "value"), ("${name:+word}", "word"), ("${empty:+word}", ""), ("${empty+word}", "word"),
        ("${unset:+word}", ""), ("${unset:-${name}}", "value"), ("${unset:-'a b'}", "a b"),
        ("${name:?no}", "value"), ("${path#*/}", "b/c.tar.gz"), ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "a/b/c.tar"), ("${path%%.*}", "a/b/c"), ("${path#x}", "a/b/c.tar.gz"),
        ("${path/b/X}", "a/X/c.tar.gz"), (#"${path//\//-}"#, "a-b-c.tar.gz"), ("${path/a*r/X}", "X.gz"),
        ("${path//?.}", "failed"), ("$", "$"), ("$$name", "$value"), ("${u#?}", "bung"), ("$1x", "x"),
        ("${name", "failed"), ("${}", "failed"), ("${name:x}", "failed"), ("'open", "failed"), ("\"open", "failed"),
        ("${unset:?is needed}", "failed"), ("${empty:?}", "failed"), ("${name^}", "failed"), ("a\\", "a"),
    ])
    func `words expand as the reference says`(word: String, expected: String) {
        let outcome = try? WordExpander.expand(word, options: .init()) { Self.variables[$0] }
        #expect((outcome?.text ?? "failed") == expected)
    }

    @Test func `errors name the word and the reason`() {
        #expect(throws: DockerfileError(.invalidInstruction, #"failed to process "${x:?is needed}": x: is needed"#)) {
            try WordExpander.expand("${x:?is needed}", options: .init()) { _ in nil }
        }
        #expect(
            throws: DockerfileError(.invalidInstruction, #"failed to process "${x?}": x: is not allowed to be unset"#)
        ) { try WordExpander.expand("${x?}", options: .init()) { _ in nil } }
    }

    @Test func `unknown names may stay and quotes too`() throws {
        var options = WordExpander.Options()
        options.keepsQuotes = true
        options.keepsUnknown = true
        let outcome = try WordExpander.expand(#"echo "$a" '$b' ${c} ${d#x} $name"#, options: options) {
            Self.variables[$0]
        }
        #expect(outcome.text == #"echo "$a" '$b' ${c} ${d#x} value"#)
    }

    @Test func `values split into words outside quotes only`() throws {
        #expect(try WordExpander.expand("$with x", options: .init()) { Self.variables[$0] }.words == ["a", "b", "x"])
        #expect(try WordExpander.expand("\"$with\" x", options: .init()) { Self.variables[$0] }.words == ["a b", "x"])
    }

    @Test func `growth and nesting are bounded`() {
        let long = String(repeating: "x", count: DockerfileLimits.expansionBytesMax / 2 + 1)
        #expect(throws: DockerfileError.self) { try WordExpander.expand("$a$a", options: .init()) { _ in long } }
        let deep = String(repeating: "${x:-", count: 100) + String(repeating: "}", count: 100)
        #expect(throws: DockerfileError.self) { try WordExpander.expand(deep, options: .init()) { _ in nil } }
    }
}
