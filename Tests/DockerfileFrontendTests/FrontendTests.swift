internal import DockerfileFrontend
internal import LLB
internal import OCI
internal import Testing

struct FrontendTests {
    private func run(
        _ files: [String: String], _ attributes: [String: String] = [:], inputs: [String: Pb_Definition] = [:],
        session: String = ""
    ) async throws -> FrontendOutput {
        var environment = MemoryEnvironment(files: files)
        environment.sessionID = session
        return try await DockerfileBuild.run(attributes: attributes, environment: environment, inputs: inputs)
    }

    private func operations(_ output: FrontendOutput) throws -> [Pb_Op] {
        try output.results[0].definition.def.map { try DefinitionBuilder.decode([UInt8]($0)) }
    }

    @Test func `a missing Dockerfile is named`() async {
        await #expect(
            throws: DockerfileError(
                .fileNotFound, "failed to read dockerfile: open Dockerfile: no such file or directory")
        ) {
            try await run([:])
        }
        await #expect(
            throws: DockerfileError(.fileNotFound, "failed to read dockerfile: open a/B: no such file or directory")
        ) {
            try await run([:], ["filename": "a/B"])
        }
    }

    @Test func `the lower-case name is tried too`() async throws {
        #expect(try await run(["dockerfile/dockerfile": "FROM scratch"]).results[0].definition.def.isEmpty)
    }

    @Test func `an ignore file of the Dockerfile's own name goes first`() async throws {
        let files = [
            "dockerfile/D": "FROM scratch\nCOPY . /", "dockerfile/D.dockerignore": "own",
            "context/.dockerignore": "common",
        ]
        let source = try operations(try await run(files, ["filename": "D"]))[0].source
        #expect(source.attrs["local.excludepatterns"] == #"["own"]"#)
    }

    @Test func `local sources carry the session that serves them`() async throws {
        let files = ["dockerfile/Dockerfile": "FROM scratch\nCOPY a /"]
        let source = try operations(try await run(files, session: "s1"))[0].source
        #expect(source.attrs["local.session"] == "s1")
        let other = try operations(try await run(files, ["local-sessionid:context": "s2"], session: "s1"))[0].source
        #expect(other.attrs["local.session"] == "s2")
    }

    @Test func `errors carry the file for an excerpt`() async throws {
        do {
            _ = try await run(["dockerfile/Dockerfile": "FROM a\nNOPE"])
            Issue.record("the build must fail")
        } catch let error as DockerfileError {
            #expect(error.source?.bytes == Array("FROM a\nNOPE".utf8))
            #expect(error.lines == [LineRange(2, 2)])
        }
    }

    @Test func `an input of another build keeps its vertices and its config`() async throws {
        let first = try await run(["dockerfile/Dockerfile": "FROM a\nENV X=1\nRUN x"])
        var attributes = ["context:lib": "input:k"]
        attributes["input-metadata:k"] =
            #"{"containerimage.config":"eyJhcmNoaXRlY3R1cmUiOiJhbWQ2NCIsIm9zIjoibGludXgiLCJjb25maWciOnsiRW52IjpbIlg9MSJdfX0="}"#
        let second = try await run(
            ["dockerfile/Dockerfile": "FROM lib\nRUN y"], attributes, inputs: ["k": first.results[0].definition])
        let bytes = second.results[0].definition.def
        #expect(bytes.starts(with: first.results[0].definition.def.dropLast()))
        #expect(try operations(second)[2].exec.meta.env.contains("X=1"))
    }

    @Test func `result metadata has BuildKit's keys`() async throws {
        let output = try await run(["dockerfile/Dockerfile": "FROM a"], ["platform": "linux/arm64,linux/arm/v6"])
        #expect(
            Set(output.metadata.keys) == [
                "containerimage.config/linux/arm64", "containerimage.config/linux/arm/v6",
                "containerimage.base.config/linux/arm64", "containerimage.base.config/linux/arm/v6", "refs.platforms",
            ])
        let list = String(decoding: output.metadata["refs.platforms"] ?? [], as: UTF8.self)
        #expect(
            list == #"{"Platforms":[{"ID":"linux/arm64","Platform":{"architecture":"arm64","os":"linux"}},"#
                + #"{"ID":"linux/arm/v6","Platform":{"architecture":"arm","os":"linux","variant":"v6"}}]}"#)
        #expect(try await run(["dockerfile/Dockerfile": "FROM a"]).metadata["containerimage.config"] != nil)
    }

    @Test func `a capability that is unknown is refused by name`() async {
        await #expect(throws: DockerfileError(.unsupportedCapability("moon"), "unsupported frontend capability moon")) {
            try await run([:], ["frontend.caps": "moby.buildkit.frontend.inputs,moon+forward"])
        }
    }

    @Test func `checks answer with warnings and a status`() async throws {
        let file = ["dockerfile/Dockerfile": "FROM a\nCMD x"]
        let output = try await run(file, ["requestid": "frontend.lint"])
        #expect(output.results.isEmpty)
        #expect(output.metadata["result.statuscode"] == Array("1".utf8))
        let json = String(decoding: output.metadata["result.json"] ?? [], as: UTF8.self)
        #expect(json.contains("\"ruleName\" : \"JSONArgsRecommended\""))
        let broken = try await run(["dockerfile/Dockerfile": "FROM a\nNOPE"], ["requestid": "frontend.lint"])
        #expect(String(decoding: broken.metadata["result.json"] ?? [], as: UTF8.self).contains("buildError"))
    }

    @Test func `targets are listed with their descriptions`() async throws {
        let file = ["dockerfile/Dockerfile": "# build compiles it\nFROM a AS build\nFROM scratch"]
        let output = try await run(file, ["requestid": "frontend.targets"])
        let text = String(decoding: output.metadata["result.txt"] ?? [], as: UTF8.self)
        #expect(text == "TARGET\tDESCRIPTION\nbuild\tcompiles it\n1 (default)\t\n")
        #expect(
            try await run([:], ["requestid": "frontend.subrequests.describe"]).metadata["version"]
                == Array("1.0.0".utf8))
    }

    @Test func `a remote file is the Dockerfile and an archive is the context`() async throws {
        let url = "https://example.com/x"
        let plain = try await run(["\(url)/context": "FROM scratch\nCOPY a /a"], ["context": url])
        #expect(try operations(plain)[0].source.identifier == url)
        let archive = try await run(
            ["\(url)/context": "BZh9", "dockerfile/Dockerfile": "FROM scratch\nCOPY a /a"],
            ["context": url, "dockerfilekey": "dockerfile"])
        #expect(try operations(archive)[1].file.actions[0].copy.attemptUnpackDockerCompatibility)
    }
}
