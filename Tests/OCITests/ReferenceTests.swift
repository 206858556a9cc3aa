import OCI
import Testing

@Suite struct ReferenceTests {
    @Test(arguments: [
        ("alpine", "docker.io/library/alpine:latest"), ("alpine:3.19", "docker.io/library/alpine:3.19"),
        ("user/app", "docker.io/user/app:latest"), ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ("localhost/x", "localhost/x:latest"), ("127.0.0.1:5000/x:y", "127.0.0.1:5000/x:y"),
        ("index.docker.io/library/x", "docker.io/library/x:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
    ])
    func `familiar names get their full form`(text: String, full: String) throws {
        #expect(try Reference(parsing: text).description == full)
    }

    @Test func `a digest stands without a tag`() throws {
        let digest = Digest.of([1, 2, 3])
        let reference = try Reference(parsing: "alpine@\(digest)")
        #expect(reference.tag == nil)
        #expect(reference.digest == digest)
        #expect(reference.familiar == "alpine@\(digest)")
        #expect(try Reference(parsing: "alpine:1@\(digest)").tag == "1")
    }

    @Test(arguments: ["", "Alpine", "a//b", "x:", "x:-a", "x@sha256:12", "-x", "a b", "host.io/"])
    func `what is no reference is refused by name`(text: String) {
        #expect { try Reference(parsing: text) } throws: { "\($0)".contains("invalid reference format: \"\(text)\"") }
    }

    @Test func `names of 255 bytes are the longest`() throws {
        let longest = String(repeating: "a", count: 255)
        #expect(throws: Never.self) { try Reference(parsing: "x.io/" + longest) }
        #expect(throws: ReferenceError.self) { try Reference(parsing: "x.io/" + longest + "a") }
    }
}
