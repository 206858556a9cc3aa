import BuildSession
import ClusterModel
import Foundation
import Gossip
import LLB
import OCI
import Synchronization
import Testing

@testable import PeerRuntime

@Suite(.serialized, .timeLimit(.minutes(3)))
struct NodeTests {
    /// Builds a definition at a node to its end.
    private func build(
        _ definition: Pb_Definition, at node: Node, _ reference: String, session: DirectorySession
    ) async throws {
        let handle = try await node.beginBuild(BuildRequest(reference: reference, session: session))
        do {
            _ = try await handle.finish(BuildResult(references: .single(try await handle.load(definition))))
        } catch {
            await handle.abandon(reason: "\(error)")
            throw error
        }
    }

    @Test func `two clients at two nodes at once run each step once`() async throws {
        try await TestCluster.with(2) { cluster in
            let definition = try TestGraph.chain(["sleep 0.2; echo 1 > /1", "echo 2 > /2", "sleep 0.1; echo 3 > /3"])
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (number, node) in cluster.nodes.enumerated() {
                    group.addTask {
                        try await build(definition, at: node, "b\(number)", session: cluster.session("s\(number)"))
                    }
                }
                try await group.waitForAll()
            }
            #expect(await cluster.executed() == 3)
            // And later, anywhere: nothing.
            for (number, node) in cluster.nodes.enumerated() {
                try await build(definition, at: node, "again\(number)", session: cluster.session("again\(number)"))
            }
            #expect(await cluster.executed() == 3)
        }
    }

    @Test func `a step on another node uses the client's secret and keeps it nowhere`() async throws {
        try await TestCluster.with(2) { cluster in
            let secret = "t0p-\(UUID().uuidString)"
            let home = cluster.nodes[0]
            try await home.setDraining(node: "n0", true)
            let script = "x=$(cat /run/secrets/token); [ ${#x} = \(secret.count) ] && echo ok > /ok"
            try await build(
                try TestGraph.chain([script], secret: "token"), at: home, "b",
                session: cluster.session("s", secrets: ["token": secret]))
            let report = try #require(await home.report(ofBuild: "b"))
            #expect(report.vertices.contains { $0.outcome == .executed && $0.node == "n1" })
            for node in cluster.nodes { #expect(try Self.files(below: node.settings.root, containing: secret).isEmpty) }
        }
    }

    private static func files(below root: String, containing text: String) throws -> [String] {
        let needle = Data(text.utf8)
        var found: [String] = []
        for case let path as String in FileManager.default.enumerator(atPath: root) ?? .init() {
            guard let data = FileManager.default.contents(atPath: root + "/" + path) else { continue }
            if data.range(of: needle) != nil { found.append(path) }
        }
        return found
    }

    @Test(arguments: [false, true])
    func `the end of a build stops its step within a second`(isRemote: Bool) async throws {
        try await TestCluster.with(2) { cluster in
            let home = cluster.nodes[0]
            try await cluster.nodes[isRemote ? 0 : 1].setDraining(node: isRemote ? "n0" : "n1", true)
            try await TestCluster.wait("the drain is known") {
                isRemote || home.cluster.livePeers.allSatisfy { $0.load.isDraining }
            }
            let executor = cluster.nodes[isRemote ? 1 : 0]
            let handle = try await home.beginBuild(
                BuildRequest(reference: "b", session: cluster.session("s")))
            let reference = try await handle.load(try TestGraph.chain(["sleep 1000"]))
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    await #expect(throws: (any Error).self) {
                        try await handle.finish(BuildResult(references: .single(reference)))
                    }
                }
                try await TestCluster.wait("the step runs") { executor.slots.current.running == 1 }
                await handle.abandon(reason: "test")
                try await TestCluster.wait("the step is gone") { executor.slots.current.running == 0 }
                try await group.waitForAll()
            }
        }
    }

    @Test func `slots bound how many steps run at once`() async throws {
        try await TestCluster.with(1, slots: 2) { cluster in
            let node = cluster.nodes[0]
            let spans = try await withThrowingTaskGroup(of: ClosedRange<Double>.self) { group in
                for number in 0..<5 {
                    group.addTask { try await span(of: number, at: node, session: cluster.session("s")) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(await cluster.executed() == 5)
            let most = spans.map { span in spans.count { $0.contains(span.lowerBound) } }.max()
            #expect(most == 2)
        }
    }

    /// When a step of its own ran, by its own clock, in seconds since the machine's start.
    private func span(of number: Int, at node: Node, session: DirectorySession) async throws -> ClosedRange<Double> {
        let handle = try await node.beginBuild(BuildRequest(reference: "b\(number)", session: session))
        let script = "cat /proc/uptime > /start; sleep 0.3; cat /proc/uptime > /end; echo \(number)"
        let reference = try await handle.load(try TestGraph.chain([script]))
        var times: [Double] = []
        for path in ["/start", "/end"] {
            let text = String(decoding: try await handle.readFile(reference, path: path, range: nil), as: UTF8.self)
            times.append(try #require(text.split(separator: " ").first.flatMap { Double($0) }))
        }
        _ = try await handle.finish(BuildResult(references: .single(reference)))
        return times[0]...times[1]
    }

    @Test func `nothing of a build stays when it is over`() async throws {
        try await TestCluster.with(1) { cluster in
            let node = cluster.nodes[0]
            weak var over: Build?
            for (number, script) in ["echo 1 > /1", "exit 3", "echo 2 > /2"].enumerated() {
                let handle = try await node.beginBuild(
                    BuildRequest(reference: "b\(number)", session: cluster.session("s\(number)")))
                over = handle as? Build
                #expect(over != nil)
                let reference = try await handle.load(try TestGraph.chain([script]))
                do {
                    _ = try await handle.finish(BuildResult(references: .single(reference)))
                    #expect(script != "exit 3")
                } catch let error as BuildError {
                    #expect(script == "exit 3")
                    #expect(error.exitCode == 3)
                }
            }
            try await TestCluster.wait("the last build is released") { over == nil }
            let held = await node.parts.solver.held
            #expect(held == (vertices: 0, builds: 0))
            #expect(await node.builds().isEmpty)
        }
    }

    @Test func `a node that leaves can be told to stop`() async throws {
        try await TestCluster.with(2) { cluster in
            await cluster.nodes[1].leave()
            await cluster.nodes[1].leave()
            try await TestCluster.wait("the other knows") { cluster.nodes[0].cluster.livePeers.isEmpty }
        }
    }
}
