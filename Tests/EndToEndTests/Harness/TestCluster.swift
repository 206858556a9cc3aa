internal import Foundation

/// Nodes that know each other, on loopback or each in a network namespace of its own.
final class TestCluster: Sendable {
    let nodes: [TestNode]
    let base: BaseImage
    /// Set when the nodes are in namespaces.
    let network: NamespaceNetwork?

    private init(nodes: [TestNode], base: BaseImage, network: NamespaceNetwork?) {
        self.nodes = nodes
        self.base = base
        self.network = network
    }

    /// Starts nodes that join through the first one and waits until all see all.
    ///
    /// With `namespaces` each is in a network namespace of its own; `network` is one that has been made for them.
    static func start(
        _ names: [String], in workspace: Workspace, namespaces: Bool = false, network: NamespaceNetwork? = nil,
        slots: Int = 2, more: [String] = []
    ) async throws -> TestCluster {
        let base = try await BaseImage.make(in: workspace)
        let key = try await writeKey(in: workspace)
        let network = namespaces ? try await NamespaceNetwork.make(names, in: workspace) : network
        var nodes: [TestNode] = []
        for name in names {
            let seeds = try await nodes.first?.peerAddress()
            let bind: String
            if let network { bind = try network.address(of: name) + ":7946" } else { bind = "127.0.0.1:0" }
            let node = try TestNode(
                name, in: workspace, bind: bind, join: seeds.map { [$0] } ?? [], keyFile: key,
                namespace: network?.namespace(of: name), slots: slots, more: more)
            try await node.start()
            nodes.append(node)
        }
        let cluster = TestCluster(nodes: nodes, base: base, network: network)
        try await cluster.waitUntilComplete()
        return cluster
    }

    static func writeKey(in workspace: Workspace, as name: String = "key") async throws -> String {
        let key = try await workspace.check([try TestNode.binary(), "keygen"])
        return try workspace.write(key, to: name, mode: 0o600)
    }

    subscript(_ name: String) -> TestNode {
        get throws {
            guard let node = nodes.first(where: { $0.name == name }) else { throw HarnessFailure("no node \(name)") }
            return node
        }
    }

    private func waitUntilComplete() async throws {
        let names = Set(nodes.map(\.name))
        for node in nodes {
            try await eventually("\(node.name) sees all of \(names.sorted())", state: { node.log }) {
                try await node.status().alive == names
            }
        }
    }

    /// Vertices executed by all nodes since they started.
    func executions() async throws -> Int {
        var sum = 0
        for node in nodes { sum += try await node.status().counters.verticesExecuted }
        return sum
    }

    func layerBytesPulled() async throws -> Int {
        var sum = 0
        for node in nodes { sum += try await node.status().counters.layerBytesPulled }
        return sum
    }

    /// Stops all nodes and says what they leave behind.
    func stopAndFindLeftovers(in workspace: Workspace) async throws -> [String] {
        for node in nodes where node.process?.isRunning == true { try await node.stop() }
        return try workspace.leftovers(ofRoots: nodes.map(\.root))
    }
}
