internal import Foundation
internal import Glibc

/// One network namespace a node, joined by a bridge in a namespace of its own; TCP between nodes is counted.
///
/// Nothing of it is in the machine's own network, so addresses can't collide with anything.
struct NamespaceNetwork: Sendable {
    private static let table = "peerbuild_e2e"

    private let names: [String]
    private let prefix: String
    private let workspace: Workspace

    static func make(_ names: [String], in workspace: Workspace) async throws -> NamespaceNetwork {
        let network = NamespaceNetwork(names: names, prefix: "pbe2e-\(getpid())-", workspace: workspace)
        let bridge = network.prefix + "bridge"
        try await workspace.addNamespace(bridge)
        try await workspace.check(["ip", "-n", bridge, "link", "add", "br0", "type", "bridge"])
        try await workspace.check(["ip", "-n", bridge, "link", "set", "br0", "up"])
        for name in names { try await network.add(name, to: bridge) }
        return network
    }

    func namespace(of name: String) -> String { prefix + name }

    func address(of name: String) throws -> String {
        guard let index = names.firstIndex(of: name) else { throw HarnessFailure("no namespace for \(name)") }
        return "10.213.0.\(index + 1)"
    }

    func address6(of name: String) throws -> String {
        guard let index = names.firstIndex(of: name) else { throw HarnessFailure("no namespace for \(name)") }
        return "fd00:213::\(index + 1)"
    }

    private func add(_ name: String, to bridge: String) async throws {
        let namespace = namespace(of: name)
        try await workspace.addNamespace(namespace)
        let link = ["type", "veth", "peer", "name", "eth0", "netns", namespace]
        try await workspace.check(["ip", "-n", bridge, "link", "add", "port-\(name)"] + link)
        try await workspace.check(["ip", "-n", bridge, "link", "set", "port-\(name)", "master", "br0", "up"])
        try await workspace.check(["ip", "-n", namespace, "addr", "add", try address(of: name) + "/24", "dev", "eth0"])
        try await workspace.check(
            ["ip", "-n", namespace, "addr", "add", try address6(of: name) + "/64", "dev", "eth0", "nodad"])
        try await workspace.check(["ip", "-n", namespace, "link", "set", "eth0", "up"])
        let rules = try workspace.write(
            """
            table inet \(Self.table) {
                counter peers { }
                chain sent { type filter hook output priority 0; oifname "eth0" meta l4proto tcp counter name peers; }
            }
            """, to: "rules-\(name)")
        try await workspace.check(["nsenter", "--net=/run/netns/\(namespace)", "nft", "-f", rules])
    }

    /// Bytes of IP packets with TCP that all nodes have sent to each other.
    func tcpBytes() async throws -> Int {
        var sum = 0
        for name in names {
            let text = try await workspace.check(
                ["nsenter", "--net=/run/netns/\(namespace(of: name))", "nft", "-j", "list", "counters"])
            let listing = try JSONDecoder().decode(Listing.self, from: Data(text.utf8))
            sum += listing.nftables.compactMap(\.counter?.bytes).reduce(0, +)
        }
        return sum
    }

    // MARK: Partitions

    private static let cutTable = "peerbuild_cut"

    /// Drops everything between the two groups, both ways, until `heal`.
    func cut(_ left: [String], from right: [String]) async throws {
        for (group, others) in [(left, right), (right, left)] {
            let addresses = try others.map { try address(of: $0) }.joined(separator: ", ")
            let rules = try workspace.write(
                """
                table inet \(Self.cutTable) {
                    chain sent { type filter hook output priority 0; ip daddr { \(addresses) } drop; }
                    chain received { type filter hook input priority 0; ip saddr { \(addresses) } drop; }
                }
                """, to: "cut-\(group[0])")
            for name in group {
                try await workspace.check(["nsenter", "--net=/run/netns/\(namespace(of: name))", "nft", "-f", rules])
            }
        }
    }

    /// Takes the cut back.
    func heal() async throws {
        for name in names {
            try await workspace.check(
                [
                    "nsenter", "--net=/run/netns/\(namespace(of: name))", "nft", "delete", "table", "inet",
                    Self.cutTable,
                ])
        }
    }

    private struct Listing: Decodable {
        struct Item: Decodable {
            struct Counter: Decodable { var bytes: Int }
            var counter: Counter?
        }
        var nftables: [Item]
    }
}
