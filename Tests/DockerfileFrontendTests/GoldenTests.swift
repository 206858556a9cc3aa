internal import DockerfileFrontend
internal import Foundation
internal import Testing

/// Folders of Golden: `Dockerfile`, `expected.txt`, and where needed `attributes.txt` (`key=value` lines) and
/// `dockerignore`.
///
/// With PEERBUILD_UPDATE_GOLDEN=1 the expected texts are written instead of compared.
struct GoldenTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden")

    static let cases: [String] =
        ((try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []).filter { !$0.hasPrefix(".") }.sorted()

    @Test func `there are golden cases`() {
        #expect(Self.cases.count >= 40)
    }

    @Test(arguments: cases)
    func `a Dockerfile becomes the expected LLB`(name: String) async throws {
        let folder = Self.root.appending(path: name)
        let read: (String) -> String? = { try? String(contentsOf: folder.appending(path: $0), encoding: .utf8) }
        var attributes: [String: String] = [:]
        for line in (read("attributes.txt") ?? "").split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            attributes[parts[0]] = parts.count == 2 ? parts[1] : ""
        }
        var files = ["dockerfile/Dockerfile": try #require(read("Dockerfile"))]
        if let ignore = read("dockerignore") { files["context/.dockerignore"] = ignore }
        let environment = MemoryEnvironment(files: files)
        var texts: [String] = []
        for _ in 0..<2 {
            do {
                texts.append(
                    try Rendering.text(
                        try await DockerfileBuild.run(attributes: attributes, environment: environment, inputs: [:])))
            } catch let error as DockerfileError {
                texts.append(Rendering.text(error))
            }
        }
        #expect(texts[0] == texts[1], "the same file twice gives the same graph")
        let expected = folder.appending(path: "expected.txt")
        if ProcessInfo.processInfo.environment["PEERBUILD_UPDATE_GOLDEN"] == "1" {
            try texts[0].write(to: expected, atomically: true, encoding: .utf8)
        } else {
            #expect(texts[0] == read("expected.txt"))
        }
    }
}
