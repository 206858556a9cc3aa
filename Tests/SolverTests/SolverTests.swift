import ClusterModel
import LLB
import OCI
import Solver
import Testing

@Suite struct SolverTests {
    /// base → a → b → c.
    private func chain(ignoring: Bool = false) throws -> DefinitionGraph {
        var builder = GraphBuilder()
        let base = builder.source("docker-image://base@1")
        let a = builder.run("a", on: base, ignoreCache: ignoring)
        let b = builder.run("b", on: a)
        return try builder.graph(for: builder.run("c", on: b))
    }

    /// base → left, base → right, left + copy of right.
    private func diamond() throws -> DefinitionGraph {
        var builder = GraphBuilder()
        let base = builder.source("docker-image://base@1")
        let left = builder.run("left", on: base)
        let left2 = builder.run("left2", on: left)
        let right = builder.run("right", on: base)
        let right2 = builder.run("right2", on: right)
        return try builder.graph(for: builder.copy("/out", from: right2, onto: left2))
    }

    @Test(arguments: UInt64(0)..<32)
    func `a chain is one segment on one node`(seed: UInt64) throws {
        var world = SolverHarness(seed: seed)
        try world.request("b1", try chain())
        world.settle()
        #expect(world.ran == ["docker-image://base@1", "a", "b", "c"])
        #expect(Set(world.runs.dropFirst().map { world.node(of: $0) }).count == 1)
        #expect(world.fulfilled["b1"]?.count == 1)
    }

    @Test(arguments: UInt64(0)..<32)
    func `branches are segments of their own and the join goes on with its base`(seed: UInt64) throws {
        var world = SolverHarness(seed: seed)
        try world.request("b1", try diamond())
        world.settle()
        var segments: [String: SegmentID] = [:]
        for run in world.runs { segments[world.command(run.vertex)] = run.segment }
        #expect(segments["left"] == segments["left2"])
        #expect(segments["right"] == segments["right2"])
        #expect(segments["left"] != segments["right"])
        #expect(segments["docker-image://base@1"] != segments["left"])
        #expect(segments.values.count == 6)
        let join = try #require(world.runs.last)
        #expect(join.segment == segments["left2"])
    }

    @Test(arguments: UInt64(0)..<16)
    func `the same build again runs nothing`(seed: UInt64) throws {
        var world = SolverHarness(seed: seed)
        try world.request("b1", try diamond())
        world.settle()
        world.send(.released(build: "b1"))
        world.settle()
        #expect(world.solver.vertexCount == 0)
        let count = world.ran.count
        try world.request("b2", try diamond())
        world.settle()
        #expect(world.ran.count == count)
        #expect(world.fulfilled["b2"] == world.fulfilled["b1"])
    }

    @Test(arguments: UInt64(0)..<32)
    func `two builds at once run each vertex once`(seed: UInt64) throws {
        var world = SolverHarness(seed: seed)
        try world.request("b1", try diamond())
        try world.request("b2", try diamond(), session: "other")
        world.settle()
        #expect(world.ran.count == Set(world.ran).count)
        #expect(world.fulfilled["b1"] == world.fulfilled["b2"])
    }

    @Test func `a copy hits on equal content whatever made it`() throws {
        var world = SolverHarness(seed: 1)
        world.contents["/out"] = "same bytes"
        var first = GraphBuilder()
        let base = first.source("docker-image://base@1")
        let made = first.run("make v1", on: base)
        try world.request("b1", try first.graph(for: first.run("use", on: first.copy("/out", from: made, onto: base))))
        world.settle()
        world.send(.released(build: "b1"))

        var second = GraphBuilder()
        let base2 = second.source("docker-image://base@1")
        let made2 = second.run("make v2", on: base2)
        try world.request(
            "b2", try second.graph(for: second.run("use", on: second.copy("/out", from: made2, onto: base2))))
        world.settle()
        #expect(world.ran.filter { $0 == "make v2" }.count == 1)
        #expect(world.ran.filter { $0 == "use" }.count == 1)
        #expect(world.fulfilled["b2"] == world.fulfilled["b1"])
    }

    @Test func `a changed file that nobody reads does not miss`() throws {
        var world = SolverHarness(seed: 1)
        world.contents["/used"] = "u"
        let graph = {
            var builder = GraphBuilder()
            let base = builder.source("docker-image://base@1")
            let context = builder.source("local://context")
            return try builder.graph(for: builder.copy("/used", from: context, onto: base))
        }
        try world.request("b1", try graph())
        world.settle()
        world.send(.released(build: "b1"))
        let count = world.ran.count
        world.contents["local://context"] = "another file changed"
        try world.request("b2", try graph(), session: "later")
        world.settle()
        #expect(world.ran.count == count)
        world.send(.released(build: "b2"))
        world.contents["/used"] = "changed"
        world.contents["local://context"] = "and now the one that is read"
        try world.request("b3", try graph(), session: "latest")
        world.settle()
        #expect(world.ran.count == count + 1)
    }

    @Test func `local files of different sessions are different vertices`() throws {
        var world = SolverHarness(seed: 1)
        var builder = GraphBuilder()
        let context = builder.source("local://context")
        let graph = try builder.graph(
            for: builder.copy("/x", from: context, onto: builder.source("docker-image://base@1")))
        try world.request("b1", graph, session: "one")
        try world.request("b2", graph, session: "two")
        let sources = world.pending.compactMap { effect -> VertexID? in
            if case .keySource(let id) = effect { id } else { nil }
        }
        #expect(Set(sources).count == 3)
        world.settle()
        #expect(world.failed.isEmpty)
    }

    @Test func `ignoring the cache runs the vertex once more and records it`() throws {
        var world = SolverHarness(seed: 1)
        try world.request("b1", try chain())
        world.settle()
        world.send(.released(build: "b1"))
        world.ran = []
        try world.request("b2", try chain(ignoring: true))
        world.settle()
        #expect(world.ran == ["a"] || world.ran == [])
        // The target's key does not depend on who made its inputs, so only a wanted result runs.
        world.send(.released(build: "b2"))
        var builder = GraphBuilder()
        let again = builder.run("a", on: builder.source("docker-image://base@1"), ignoreCache: true)
        try world.request("b3", try builder.graph(for: again))
        world.settle()
        #expect(world.ran.last == "a")
    }

    @Test(arguments: UInt64(0)..<16)
    func `a step that fails fails its builds once and is not tried again`(seed: UInt64) throws {
        var world = SolverHarness(seed: seed)
        world.failing = ["left"]
        try world.request("b1", try diamond())
        try world.request("b2", try diamond())
        world.settle()
        #expect(world.ran.filter { $0 == "left" }.count == 1)
        #expect(world.failed["b1"]?.exitCode == 3)
        #expect(world.failed["b2"]?.exitCode == 3)
        #expect(world.fulfilled.isEmpty)
    }

    @Test func `the loss of an executor runs only what it was running`() throws {
        var world = SolverHarness(seed: 3)
        world.held = ["right2"]
        try world.request("b1", try diamond())
        world.settle()
        let held = try #require(world.holding.first)
        let node = world.node(of: held)
        let before = world.ran
        // What the dead node had made before is with others here: only the step under way is lost.
        let key = held.key
        world.send(.lost(held.vertex, on: node))
        world.held = []
        world.settle()
        #expect(world.ran.count == before.count + 2)
        #expect(world.ran.dropFirst(before.count).first == "right2")
        let retry = try #require(world.runs.last { $0.key == key })
        #expect(retry.excluded == [node])
        #expect(world.fulfilled["b1"]?.count == 1)
    }

    @Test(arguments: UInt64(0)..<16)
    func `results that others wait to read are awaited, and the end of a build`(seed: UInt64) throws {
        var world = SolverHarness(seed: seed)
        world.held = ["right2"]
        try world.request("b1", try diamond())
        world.settle()
        func result(of command: String) throws -> VertexResult {
            let run = try #require(world.runs.last { world.command($0.vertex) == command })
            return SolverHarness.result("\(run.key)", on: world.node(of: run))
        }
        // The other branch waits for this one, and this one's input is being read.
        let waiting = try [result(of: "left2"), result(of: "right")]
        let awaited = world.solver.awaitedResults
        #expect(awaited.count == 2 && waiting.allSatisfy(awaited.contains), "\(awaited)")
        world.finish("right2")
        // Nobody reads them any more; the build's own result is exported.
        let join = try #require(world.runs.last)
        #expect(world.solver.awaitedResults == [SolverHarness.result("\(join.key)", on: world.node(of: join))])
        world.send(.released(build: "b1"))
        #expect(world.solver.awaitedResults.isEmpty)
    }

    @Test(arguments: UInt64(0)..<16)
    func `a build that comes while a failed one is still there tries again`(seed: UInt64) throws {
        var world = SolverHarness(seed: seed)
        world.failing = ["a"]
        try world.request("b1", try chain())
        world.settle()
        #expect(world.failed["b1"]?.exitCode == 3)
        world.failing = []
        try world.request("b2", try chain(), session: "other")
        world.settle()
        #expect(world.fulfilled["b2"]?.count == 1)
        world.send(.released(build: "b1"))
        world.send(.released(build: "b2"))
        #expect(world.solver.vertexCount == 0)
        #expect(world.solver.segmentCountHeld == 0)
    }

    @Test func `an input that does not exist cannot be lost`() throws {
        var world = SolverHarness(seed: 1)
        world.held = ["c"]
        try world.request("b1", try chain())
        world.settle()
        let held = try #require(world.holding.first)
        world.send(.inputLost(held.vertex, input: 7))
        world.finish("c")
        #expect(world.fulfilled["b1"]?.count == 1)
    }

    @Test func `a vertex that loses too many executors fails its build`() throws {
        var world = SolverHarness(seed: 3)
        world.held = ["a"]
        try world.request("b1", try chain())
        world.settle()
        for _ in 0..<Solver.executorsLostMax {
            let held = try #require(world.holding.last)
            world.send(.lost(held.vertex, on: world.node(of: held)))
            world.settle()
        }
        #expect(world.failed["b1"]?.message.contains("lost 3 executors") == true)
    }

    @Test(arguments: UInt64(0)..<64)
    func `a holder's death recomputes what is still needed and nothing else`(seed: UInt64) throws {
        var world = SolverHarness(seed: seed)
        world.held = ["left2"]
        try world.request("b1", try diamond())
        world.settle()
        let right = try #require(world.runs.first { world.command($0.vertex) == "right2" })
        let node = world.node(of: right)
        let isLeftThere = world.runs.first { world.command($0.vertex) == "left2" }.map { world.node(of: $0) == node }
        world.kill(node)
        world.held = []
        world.settle()
        world.finish("left2")
        #expect(world.fulfilled["b1"]?.count == 1)
        #expect(world.ran.filter { $0 == "right2" }.count == 2)
        if isLeftThere == false { #expect(world.ran.filter { $0 == "left2" }.count == 1) }
    }

    @Test func `branches that meet in copies one after the other run at once`() throws {
        var world = SolverHarness(seed: 1)
        world.held = ["left", "right", "slow base"]
        var builder = GraphBuilder()
        let base = builder.source("docker-image://base@1")
        let left = builder.run("left", on: base)
        let right = builder.run("right", on: base)
        let slow = builder.run("slow base", on: base)
        let copied = builder.copy("/r", from: right, onto: builder.copy("/l", from: left, onto: slow))
        try world.request("b1", try builder.graph(for: builder.run("end", on: copied)))
        world.settle()
        #expect(Set(world.holding.map { world.command($0.vertex) }) == ["left", "right", "slow base"])
        for command in ["right", "left", "slow base"] { world.finish(command) }
        #expect(world.fulfilled["b1"]?.count == 1)
        #expect(world.ran.count == Set(world.ran).count)
    }

    @Test func `releasing the last build stops its work`() throws {
        var world = SolverHarness(seed: 1)
        world.held = ["a"]
        try world.request("b1", try chain())
        try world.request("b2", try chain())
        world.settle()
        world.send(.released(build: "b1"))
        world.settle()
        #expect(world.cancelled.isEmpty)
        world.send(.released(build: "b2"))
        world.settle()
        #expect(world.cancelled.count == 1)
        #expect(world.solver.vertexCount == 0)
    }

    @Test func `an input that cannot be pulled is made again`() throws {
        var world = SolverHarness(seed: 1)
        world.held = ["c"]
        try world.request("b1", try chain())
        world.settle()
        let held = try #require(world.holding.first)
        world.records = [:]
        world.send(.inputLost(held.vertex, input: 0))
        world.held = []
        world.settle()
        #expect(world.ran.filter { $0 == "b" }.count == 2)
        #expect(world.ran.filter { $0 == "a" }.count == 1)
        #expect(world.fulfilled["b1"]?.count == 1)
    }

    @Test func `a mount that is only read counts by content`() throws {
        var world = SolverHarness(seed: 1)
        world.contents["/"] = "equal trees"
        for (build, version) in [("b1", "gen 1"), ("b2", "gen 2")] {
            var builder = GraphBuilder()
            let base = builder.source("docker-image://base@1")
            let tool = builder.run(version, on: base)
            try world.request(build, try builder.graph(for: builder.run("use", on: base, reading: [tool])))
            world.settle()
            world.send(.released(build: build))
        }
        #expect(world.ran.filter { $0 == "use" }.count == 1)
    }
}
