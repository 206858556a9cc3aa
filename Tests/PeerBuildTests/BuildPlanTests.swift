internal import ArgumentParser
internal import BuildClient
internal import Foundation
internal import Testing

@testable internal import PeerBuild

@Suite struct BuildPlanTests {
    private static func plan(
        _ arguments: [String], environment: [String: String] = [:], input: [UInt8] = []
    ) throws -> BuildPlan {
        let scratch = ScratchDirectories()
        defer { scratch.remove() }
        let world = BuildPlan.World(
            environment: environment, standardInput: { input }, temporaryDirectory: scratch.make)
        return try BuildPlan(try BuildOptions.parse(arguments), world)
    }

    @Test(arguments: [
        (["--target", "t"], ["target": "t"]),
        (
            ["--build-arg", "A=b=c", "--build-arg", "HOMELAND", "--build-arg", "UNSET"],
            ["build-arg:A": "b=c", "build-arg:HOMELAND": "x"]
        ),
        (["--label", "k=v", "--label", "bare"], ["label:k": "v", "label:bare": ""]),
        (["--platform", "linux/amd64,linux/arm64"], ["platform": "linux/amd64,linux/arm64"]),
        (["--no-cache"], ["no-cache": ""]),
        (["--no-cache-filter", "a", "--no-cache-filter", "b"], ["no-cache": "a,b"]),
        (["--pull"], ["image-resolve-mode": "pull"]),
        (["--network", "none"], ["force-network-mode": "none"]),
        (["--network", "default"], [:]),
        (["--add-host", "h:1.2.3.4", "--add-host", "six=::1"], ["add-hosts": "h=1.2.3.4,six=::1"]),
        (["--shm-size", "1g"], ["shm-size": "1073741824"]),
        (["--build-context", "b=docker-image://alpine"], ["context:b": "docker-image://alpine"]),
        (["--build-context", "d=/tmp"], ["context:d": "local:d"]),
        (["--cache-from", "r/c"], ["cache-imports": #"[{"Attrs":{"ref":"r/c"},"Type":"registry"}]"#]),
    ])
    func `flags become the frontend's attributes`(flags: [String], expected: [String: String]) throws {
        var attributes = try Self.plan(flags + ["/tmp"], environment: ["HOMELAND": "x"]).request.attributes
        #expect(attributes.removeValue(forKey: "filename") == "Dockerfile")
        #expect(attributes == expected)
    }

    @Test(
        arguments: [
            (["-o", "out"], "local", [:], BuildRequest.Target.directory("out")),
            (["-o", "-"], "tar", [:], .standardOutput),
            (["-o", "type=oci,dest=x.tar,compression=zstd"], "oci", ["compression": "zstd"], .file("x.tar")),
            (["-o", "type=tar,\"dest=a,b.tar\""], "tar", [:], .file("a,b.tar")),
            (["-o", "type=docker"], "docker", [:], .dockerEngine),
            (["--load"], "docker", [:], .dockerEngine),
            (["-o", "type=registry", "-t", "r/a", "-t", "r/b"], "image", ["push": "true", "name": "r/a,r/b"], .none),
            (["--push", "-t", "r/a"], "image", ["push": "true", "name": "r/a"], .none),
            (["-o", "type=image,name=r/x", "--push", "-t", "r/a"], "image", ["push": "true", "name": "r/x"], .none),
            (
                ["-o", "type=oci,dest=-", "--annotation", "index,manifest:k=v"], "oci",
                ["annotation-index.k": "v", "annotation-manifest.k": "v"], .standardOutput
            ),
        ] as [([String], String, [String: String], BuildRequest.Target)])
    func `outputs become exporters`(
        flags: [String], type: String, attributes: [String: String], target: BuildRequest.Target
    ) throws {
        let exporters = try Self.plan(flags + ["/tmp"]).request.exporters
        #expect(exporters == [BuildRequest.Exporter(type: type, attributes: attributes, target: target)])
    }

    @Test(arguments: [
        ["--push", "/tmp"], ["-o", "type=cake,dest=x", "/tmp"], ["-o", "dest=x", "/tmp"], ["-o", "type=local", "/tmp"],
        ["-o", "type=tar,\"dest=x", "/tmp"], ["--network", "bridge", "/tmp"], ["--secret", "src=x", "/tmp"],
        ["--secret", "id=a,src=/no/such/file", "/tmp"], ["--add-host", "h", "/tmp"], ["/no/such/directory"],
        ["-f", "/no/such/file", "/tmp"], ["-f", "-", "-"], ["--ssh", "default=/tmp", "/tmp"],
        ["--build-context", "x", "/tmp"], ["--cache-to", "type=local,dest=c", "/tmp"],
        ["--build-context", "x=oci-layout:///no/layout", "/tmp"], ["-o", "-", "-o", "type=oci,dest=-", "/tmp"],
    ])
    func `flags that make no sense are refused by name`(arguments: [String]) {
        #expect(throws: BuildPlanError.self) { try Self.plan(arguments) }
    }

    @Test func `type cacheonly has no exporter`() throws {
        let plan = try Self.plan(["-o", "type=cacheonly", "/tmp"])
        #expect(plan.request.exporters.isEmpty)
        #expect(plan.remarks.isEmpty)
        #expect(try Self.plan(["/tmp"]).remarks.count == 1)
    }

    @Test func `host network is asked for as an entitlement`() throws {
        let request = try Self.plan(["--network", "host", "--allow", "security.insecure", "/tmp"]).request
        #expect(request.entitlements == ["network.host", "security.insecure"])
        #expect(request.attributes["force-network-mode"] == "host")
    }

    @Test func `standard input is a Dockerfile or an archive`() throws {
        let dockerfile = try Self.plan(["-"], input: Array("FROM scratch\n".utf8)).request
        #expect(Set(dockerfile.directories.keys) == ["context", "dockerfile"])
        let archive = try Self.plan(["-"], input: [0x1F, 0x8B, 8, 0]).request
        #expect(archive.directories.isEmpty)
        let path = try #require(archive.uploads.keys.first)
        #expect(archive.attributes["context"] == "http://buildkit-session" + path)
    }

    @Test func `a URL is a context that the node fetches`() throws {
        let request = try Self.plan(["-f", "sub/Dockerfile", "https://example.com/r.git#main"]).request
        #expect(request.attributes["context"] == "https://example.com/r.git#main")
        #expect(request.attributes["filename"] == "sub/Dockerfile")
        #expect(request.directories.isEmpty)
    }

    @Test func `secrets come from files and variables`() throws {
        let flags = ["--secret", "id=a,env=X", "--secret", "id=b,src=/etc/hostname", "--secret", "id=V", "/tmp"]
        let secrets = try Self.plan(flags, environment: ["V": "1"]).request.secrets
        #expect(secrets == ["a": .environment("X"), "b": .file("/etc/hostname"), "V": .environment("V")])
    }

    @Test func `metadata shows encoded descriptors as objects`() throws {
        let descriptor = Data(#"{"size":3}"#.utf8).base64EncodedString()
        let data = try BuildMetadata.json(of: ["containerimage.descriptor": descriptor, "image.name": "a"])
        let object = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect((object["containerimage.descriptor"] as? [String: Int])?["size"] == 3)
        #expect(object["image.name"] as? String == "a")
    }

    @Test(
        arguments: [
            ("flag", [:] as [String: String], "flag", true),
            (nil, ["PEERBUILD_HOST": "p", "BUILDKIT_HOST": "b"], "p", true), (nil, ["BUILDKIT_HOST": "b"], "b", true),
            (nil, [:], nil, false),
        ] as [(String?, [String: String], String?, Bool)])
    func `the node's address comes from flag, environment or default`(
        flag: String?, environment: [String: String], host: String?, isExplicit: Bool
    ) throws {
        func text(_ host: String) -> String { "tcp://\(host):1234" }
        let options = try NodeOptions.parse(flag.map { ["-H", text($0)] } ?? [])
        let choice = try options.choice(environment: environment.mapValues(text))
        #expect(choice.addresses == [host.map { .tcp(host: $0, port: 1234) } ?? .standard])
        #expect(choice.isExplicit == isExplicit)
    }
}
