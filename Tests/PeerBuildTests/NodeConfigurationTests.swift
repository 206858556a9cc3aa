internal import ArgumentParser
internal import Foundation
internal import OCI
internal import Testing

@testable internal import PeerBuild

@Suite struct NodeConfigurationTests {
    private static func faults(_ body: () throws -> Void) -> [String] {
        do {
            try body()
            return []
        } catch {
            return (error as? NodeConfigurationError)?.faults ?? ["\(error)"]
        }
    }

    @Test func `a whole file is read`() throws {
        let text = """
            root = "/data"
            insecure-entitlements = ["network.host"]
            [log]
              level = "warn"
              format = "json"
            [grpc]
              address = ["unix:///run/x.sock", "tcp://127.0.0.1:1234"]
              [grpc.tls]
                ca = "/ca"
                cert = "/cert"
                key = "/key"
            [worker.oci]
              max-parallelism = 3
              platforms = ["linux/arm64"]
              maxUsedSpace = "20GB"
              no-new-privileges = true
              [worker.oci.labels]
                disk = "ssd"
            [registry."docker.io"]
              mirrors = ["mirror.example:5000"]
            [registry."localhost:5000"]
              http = true
              ca = ["/a.pem"]
            [transfer]
              rate-limit = "100MB"
              max-serving = 5
            [cluster]
              name = "farm"
              node-name = "n1"
              bind = "0.0.0.0:7000"
              join = ["a:7946", "b:7946"]
              key-file = "/key"
            """
        let settings = try ConfigurationFile.settings(in: text, path: "node.toml")
        let configuration = try settings.configuration(hostName: "host")
        #expect(configuration.name == "n1")
        #expect(configuration.root == "/data")
        #expect(configuration.addresses == [.unix(path: "/run/x.sock"), .tcp(host: "127.0.0.1", port: 1234)])
        #expect(configuration.slots == 3)
        #expect(configuration.rateLimit == 100_000_000 && configuration.servingMax == 5)
        #expect(configuration.labels == ["disk": "ssd"])
        #expect(configuration.platforms.map(\.description) == ["linux/arm64"])
        #expect(configuration.cacheBytesMax == 20_000_000_000)
        #expect(configuration.forbidsNewPrivileges)
        #expect(configuration.registries["docker.io"]?.mirrors == ["mirror.example:5000"])
        #expect(configuration.registries["localhost:5000"] == RegistrySettings(isHTTP: true, authorities: ["/a.pem"]))
        #expect(configuration.clusterName == "farm")
        #expect(configuration.join == ["a:7946", "b:7946"])
        #expect(configuration.logFormat == .json)
        #expect(configuration.entitlements == [.networkHost])
        #expect(configuration.tls == TLSFiles(authority: "/ca", certificate: "/cert", key: "/key"))
    }

    @Test func `unknown keys are named with their lines, all at once`() {
        let text = """
            root = "/data"
            colour = "red"
            [cluster]
              nmae = "x"
            [registry."r"]
              speed = 3
            [grpc.tls]
              cart = "/c"
            """
        let faults = Self.faults { _ = try ConfigurationFile.settings(in: text, path: "node.toml") }
        #expect(
            Set(faults) == [
                "node.toml:2: colour is no key that a node knows",
                "node.toml:4: cluster.nmae is no key that a node knows",
                "node.toml:6: registry.r.speed is no key that a node knows",
                "node.toml:8: grpc.tls.cart is no key that a node knows",
            ])
    }

    @Test func `a value of the wrong kind is named with its line`() {
        let faults = Self.faults {
            _ = try ConfigurationFile.settings(in: "[registry.\"r\"]\nhttp = \"yes\"\n", path: "f")
        }
        #expect(faults == ["f:2: registry.r.http must be true or false"])
    }

    @Test func `text that is no TOML is named with its line`() {
        let faults = Self.faults { _ = try ConfigurationFile.settings(in: "root = \"/x\"\n[cluster\n", path: "f") }
        #expect(faults.count == 1)
        #expect(faults.first?.hasPrefix("f: line 2") == true)
    }

    @Test func `flag wins over environment, environment over file, file over default`() throws {
        let file = FileManager.default.temporaryDirectory.path + "/peerbuild-config-\(UUID().uuidString).toml"
        defer { try? FileManager.default.removeItem(atPath: file) }
        let text = "root = \"/file\"\n[cluster]\nname = \"file\"\nslots = 1\n[log]\nlevel = \"warn\"\n"
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        let command = try NodeCommand.parse(["--config", file, "--root", "/flag"])
        let configuration = try command.resolved(
            environment: ["PEERBUILD_ROOT": "/env", "PEERBUILD_SLOTS": "2", "PEERBUILD_NODE_NAME": "n"])
        #expect(configuration.root == "/flag")
        #expect(configuration.slots == 2)
        #expect(configuration.name == "n")
        #expect(configuration.clusterName == "file")
        #expect(configuration.logLevel == .warn)
        #expect(configuration.logFormat == .text)
    }

    @Test func `all faults of the values are told at once`() throws {
        let command = try NodeCommand.parse([
            "--name", "a b", "--root", "relative", "--addr", "http://x", "--bind", "nowhere", "--join", "x:0",
            "--slots", "0", "--label", "bare", "--platform", "", "--log-level", "loud", "--tlscert", "/c",
        ])
        let faults = Self.faults { _ = try command.resolved(environment: [:]) }
        for flag in ["name", "root", "addr", "bind", "join", "slots", "label", "platform", "log-level", "tlscert"] {
            #expect(faults.contains { $0.contains("--\(flag)") }, "\(flag) in \(faults)")
        }
    }

    @Test func `without a key only loopback is bound, without TLS only loopback is served`() throws {
        let open = try NodeCommand.parse(["--name", "n", "--bind", "0.0.0.0:7946", "--addr", "tcp://0.0.0.0:1234"])
        let faults = Self.faults { _ = try open.resolved(environment: [:]) }
        #expect(faults.count == 2)
        let plain = try NodeCommand.parse(["--name", "n"]).resolved(environment: [:])
        #expect(plain.bind == NodeConfiguration.defaultBindWithoutKey)
        let keyed = try NodeCommand.parse(["--name", "n", "--cluster-key-file", "/k"]).resolved(environment: [:])
        #expect(keyed.bind == NodeConfiguration.defaultBind)
        let insecure = try NodeCommand.parse(["--name", "n", "--addr", "tcp://0.0.0.0:1234", "--insecure"])
        #expect(try insecure.resolved(environment: [:]).addresses == [.tcp(host: "0.0.0.0", port: 1234)])
    }

    @Test func `status in JSON has the fields of the contract, and the node's counters`() throws {
        let member = StatusReport.Member(
            name: "n", address: "a:1", state: "alive", incarnation: 1, slots: 2, running: 1, queued: 0,
            labels: ["k": "v"], platforms: ["linux/amd64"], cacheKeys: 3, cacheBytes: 4, version: "1")
        let build = StatusReport.Build(
            ref: "r", home: "n", vertices: 5, completed: 4, cached: 3, running: 1, started: "2026-01-01T00:00:00Z")
        let text = try StatusReport(members: [member], builds: [build]).json()
        #expect(
            text == #"{"builds":[{"cached":3,"completed":4,"home":"n","ref":"r","running":1,"#
                + #""started":"2026-01-01T00:00:00Z","vertices":5}],"counters":{"bloomHits":0,"bloomHitsDenied":0,"#
                + #""layerBytesDeduplicated":0,"layerBytesLeftOut":0,"layerBytesPrefetched":0,"layerBytesPulled":0,"#
                + #""layerBytesResumed":0,"layerBytesServed":0,"links":{},"registryBytesPulled":0,"#
                + #""verticesExecuted":0},"gossip":{"keyring":[],"seeds":[],"warnings":[]},"links":[],"members":[{"#
                + #""address":"a:1","alternatives":[],"cacheBytes":4,"cacheKeys":3,"conditions":[],"cpuBusy":0,"#
                + #""diskFree":0,"incarnation":1,"labels":{"k":"v"},"loadAgeSeconds":-1,"memoryFree":0,"name":"n","#
                + #""platforms":["linux/amd64"],"queued":0,"running":1,"slots":2,"state":"alive","version":"1"}]}"#)
    }

    @Test(arguments: [("512MB", 512_000_000), ("1GiB", 1_073_741_824), ("7", 7), ("1.5k", 1_536)] as [(String, Int64)])
    func `sizes are read`(text: String, bytes: Int64) { #expect(SizeArgument(argument: text)?.bytes == bytes) }

    @Test(arguments: ["", "x", "-1", "1XB"]) func `texts that are no size are refused`(text: String) {
        #expect(SizeArgument(argument: text) == nil)
    }

    @Test(arguments: [("90s", 90), ("1h30m", 5_400), ("48h", 172_800)] as [(String, Int64)])
    func `durations are read`(text: String, seconds: Int64) {
        #expect(DurationArgument(argument: text)?.nanoseconds == seconds * 1_000_000_000)
    }
}
