internal import Foundation
internal import Glibc
internal import Testing

/// How nodes find each other, and under which addresses.
extension EndToEnd {
    @Suite struct Addresses {
        @Test func `nodes of one link find each other by multicast DNS when they are told to`() async throws {
            try await withWorkspace { workspace in
                let names = ["a", "b", "quiet"]
                let network = try await NamespaceNetwork.make(names, in: workspace)
                let key = try await TestCluster.writeKey(in: workspace)
                var nodes: [TestNode] = []
                for name in names {
                    let node = try TestNode(
                        name, in: workspace, bind: network.address(of: name) + ":7946", keyFile: key,
                        namespace: network.namespace(of: name), more: name == "quiet" ? [] : ["--mdns"])
                    try await node.start()
                    nodes.append(node)
                }
                try await nodes[0].waitForMember("b", "alive")
                try await nodes[1].waitForMember("a", "alive")
                #expect(try await nodes[2].status().alive == ["quiet"])
                for node in nodes { try await node.stop() }
            }
        }

        @Test func `a cluster name with SRV records leads to its nodes`() async throws {
            try await withWorkspace { workspace in
                let names = ["a", "b", "dns"]
                let network = try await NamespaceNetwork.make(names, in: workspace)
                let key = try await TestCluster.writeKey(in: workspace)
                let server = try network.address(of: "dns")
                let resolver = try workspace.write(
                    "nameserver \(server)\noptions timeout:1 attempts:2\n", to: "resolver")
                let a = try TestNode(
                    "a", in: workspace, bind: network.address(of: "a") + ":7946", keyFile: key,
                    namespace: network.namespace(of: "a"))
                try await a.start()
                let b = try TestNode(
                    "b", in: workspace, bind: network.address(of: "b") + ":7946", join: ["cluster.test"], keyFile: key,
                    namespace: network.namespace(of: "b"), resolver: resolver)
                try await b.start()
                // Without a name server it says so and goes on.
                try await eventually("b says that its seed means nothing", state: { b.log }) {
                    b.log.contains("seed cluster.test: ")
                }
                // dnsmasq closes all files that it inherits, by which Foundation takes it for ended, and then waits for its
                // end: a parent keeps them open. It goes with its process namespace, and that with its first process.
                let nameServer = try workspace.start(
                    [
                        "nsenter", "--net=/run/netns/\(network.namespace(of: "dns"))", "unshare", "--fork",
                        "--kill-child", "--pid", "sh", "-c", "dnsmasq \"$@\" & wait", "sh", "--keep-in-foreground",
                        "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-resolv", "--no-hosts",
                        "--bind-interfaces", "--listen-address=\(server)",
                        "--srv-host=_peerbuild._udp.cluster.test,node-a.cluster.test,7946",
                        "--host-record=node-a.cluster.test,\(try network.address(of: "a"))",
                    ], as: "dnsmasq")
                try await b.waitForMember("a", "alive", within: 60)
                try await a.waitForMember("b", "alive")
                nameServer.send(SIGKILL)
                _ = try await nameServer.end(within: 60)
                for node in [a, b] { try await node.stop() }
            }
        }

        @Test(arguments: [("[::]:7946", "0.0.0.0:7946", false), ("[::]:7946", "[::]:7946", true)])
        func `a node on all addresses is reached at one that peers have a way to`(
            _ first: String, _ second: String, overIPv6: Bool
        ) async throws {
            try await withWorkspace { workspace in
                let network = try await NamespaceNetwork.make(["a", "b"], in: workspace)
                let key = try await TestCluster.writeKey(in: workspace)
                let a = try TestNode(
                    "a", in: workspace, bind: first, keyFile: key, namespace: network.namespace(of: "a"))
                try await a.start()
                let seed = overIPv6 ? "[\(try network.address6(of: "a"))]" : try network.address(of: "a")
                let b = try TestNode(
                    "b", in: workspace, bind: second, join: [seed + ":7946"], keyFile: key,
                    namespace: network.namespace(of: "b"))
                try await b.start()
                try await a.waitForMember("b", "alive")
                try await b.waitForMember("a", "alive")
                #expect(try await a.peerAddress() == network.address(of: "a") + ":7946")
                let own = overIPv6 ? "[\(try network.address6(of: "b"))]" : try network.address(of: "b")
                #expect(try await b.peerAddress() == own + ":7946")
                for node in [a, b] { try await node.stop() }
            }
        }

        @Test func `a node on all addresses of a machine without any says what to do`() async throws {
            try await withWorkspace { workspace in
                let network = try await NamespaceNetwork.make(["a"], in: workspace)
                let space = network.namespace(of: "a")
                try await workspace.check(["ip", "-n", space, "link", "set", "eth0", "down"])
                let node = try TestNode(
                    "a", in: workspace, bind: "0.0.0.0:7946", keyFile: try await TestCluster.writeKey(in: workspace),
                    namespace: space)
                try node.launch()
                let result = try #require(try await node.process?.end(within: 60))
                #expect(result.status == 1)
                #expect(result.errors.contains("--advertise"), "\(result.errors)")
            }
        }
    }
}
