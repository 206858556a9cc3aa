import ClusterModel
import Testing

@testable import Gossip
@testable import Simulation

struct ScriptTests {
    @Test(arguments: UInt64(1)...12)
    func `a random script breaks no invariant`(seed: UInt64) throws {
        let script = FaultScript.random(seed: seed, nodes: 7)
        var run = ScriptRun()
        run.nodes = 7
        run.seed = seed
        let outcome = try run.run(script)
        #expect(outcome.violations.isEmpty, "seed \(seed): \(script): \(outcome.violations.prefix(3))")
    }

    /// What random scripts found, cut down.
    @Test(arguments: [
        // A node that leaves told a stranger's address more than an ack.
        (73, "560 stall 5 for 91; 597 leave 5 for 1"), (900, "54 stall 6 for 88; 107 leave 6 for 1"),
        // Suspicion and verdict came together, from beyond a partition that had just healed.
        (186, "469 split 1,3,4,6,7 for 43"), (917, "495 split 1,3,4 for 27"), (519, "158 split 2,3,5,7 for 33"),
        (467, "120 split 1,3,4,6 for 55; 133 stall 6 for 69"),
        // A process that stood still read verdicts as old as that.
        (1_141, "68 split 1,4 for 32; 91 stall 0 for 338"), (1_329, "306 split 1,2,4 for 95; 338 stall 4 for 295"),
        // A stopped process went on, and its datagrams were blocked: streams spoke for it in vain.
        (529, "50 stall 4 for 288; 324 blocked 4 for 45"),
        // One lost connection made a stopped process a silent host; few were left to say otherwise.
        (514, "44 stall 3 for 294; 121 split 1,2,3,6,7 for 151; 170 stall 6 for 78; 227 loss 20 2 for 24"),
        // Confirmers repeated what they had seen before the host of the stopped process was gone.
        (1_526, "489 stall 6 for 51; 531 crash 6 host snapshot"),
        // Another half's verdict and one lost connection outweighed what the own half had seen.
        (1_794, "252 split 4,5,7 for 46; 274 loss 29 4 for 31; 283 stall 1 for 24"),
        // Nobody but a copy that had gone was told that its boot was over.
        (259, "143 stall 4 for 338; 450 clone 6 for 1"), (688, "288 split 1 for 78; 291 clone 1 for 1"),
        (552, "352 split 1,2 for 83; 373 split 1,2,3 for 33; 585 clone 3 for 1"),
        (98, "43 split 0,1 for 45; 61 clone 3 for 1"),
        // A young node gave way to its copy.
        (235, "0 clone 6 for 1"),
    ])
    func `what broke an invariant once breaks none`(seed: UInt64, text: String) throws {
        var run = ScriptRun()
        run.nodes = 8
        run.seed = seed
        let outcome = try run.run(try #require(FaultScript(text, nodes: 8)))
        #expect(outcome.violations.isEmpty, "\(outcome.violations.prefix(3))")
    }

    @Test(arguments: UInt64(1)...200)
    func `a script is what its text says`(seed: UInt64) {
        let script = FaultScript.random(seed: seed, nodes: 9)
        #expect(FaultScript("\(script)", nodes: 9) == script)
    }

    @Test(arguments: [
        "crash 1", "5 crash", "5 crash 9", "5 sing 1", "5 split", "-1 leave 2", "5 loss 99 1", "5 leave 1 for x",
    ])
    func `what is no script is refused`(text: String) {
        #expect(FaultScript(text, nodes: 9) == nil)
    }

    @Test func `a failing script is cut down to what it takes to fail`() throws {
        let script = try #require(
            FaultScript(
                "10 leave 4; 20 crash 3 host for 160; 30 split 0,1,2 for 64; 40 stall 2 for 9; 50 jump 1 60", nodes: 8))
        var shrinker = ScriptShrinker()
        // It takes a crash of node 3 that lasts for 20 and a split.
        let minimal = shrinker.shrink(script) { script in
            let crashes = script.entries.contains { entry in
                if case .crash(3, _, _) = entry.fault { entry.lasts >= 20 } else { false }
            }
            let splits = script.entries.contains { if case .split = $0.fault { true } else { false } }
            return crashes && splits
        }
        #expect("\(minimal)" == "0 crash 3 host for 20; 0 split 0 for 1")
        #expect(shrinker.runs <= shrinker.runsMax)
    }

    @Test(arguments: [5, 60, 900])
    func `a copied root directory gives way, and the original is a member again`(age: Int) throws {
        var cluster = ClusterSimulation(seed: 5)
        for index in 0..<6 {
            _ = try cluster.start(seeds: index == 0 ? [] : [0])
            cluster.run(for: .milliseconds(20))
        }
        cluster.run(for: .seconds(Int64(age) + 5))
        let clone = try cluster.startClone(of: 3, hasSameBoot: false)
        cluster.run(for: .seconds(40))
        try expectOriginal(3, clone, cluster)
    }

    @Test func `a copied machine with the same boot id gives way before it repeats a nonce`() throws {
        var cluster = ClusterSimulation(seed: 6)
        cluster.nonces = NonceChecker()
        for index in 0..<6 {
            _ = try cluster.start(seeds: index == 0 ? [] : [0])
            cluster.run(for: .milliseconds(20))
        }
        cluster.run(for: .seconds(70))
        #expect(cluster.violations.isEmpty)
        let clone = try cluster.startClone(of: 3, hasSameBoot: true)
        cluster.run(for: .seconds(40))
        try expectOriginal(3, clone, cluster)
        #expect(cluster.violations.isEmpty, "\(cluster.violations)")
    }

    private func expectOriginal(_ original: Int, _ clone: Int, _ cluster: ClusterSimulation) throws {
        #expect(cluster.nodes[original].isRunning)
        #expect(cluster.nodes[clone].hasGivenUp && !cluster.nodes[clone].isRunning)
        let reported = cluster.nodes[clone].notices.contains { if case .identityGivenUp = $0 { true } else { false } }
        #expect(reported)
        for observer in cluster.running {
            let member = try #require(cluster.nodes[observer].membership.member(ClusterSimulation.id(of: original)))
            #expect(member.state == .alive && member.address == ClusterSimulation.address(of: original), "n\(observer)")
            #expect(member.bootID == cluster.nodes[original].boots)
        }
    }

    @Test func `two copies that met late leave one, and both say so`() throws {
        var cluster = ClusterSimulation(seed: 8)
        for index in 0..<8 {
            _ = try cluster.start(seeds: index == 0 ? [] : [0])
            cluster.run(for: .milliseconds(20))
        }
        cluster.run(for: .seconds(5))
        let clone = try cluster.startClone(of: 5, hasSameBoot: false)
        let half = [0, 1, 2, 3, 5]
        for one in half { for other in [4, 6, 7, clone] { cut(&cluster, one, other) } }
        cluster.run(for: .seconds(200))
        cluster.network.heal()
        cluster.run(for: .seconds(60))
        let left = [5, clone].filter { cluster.nodes[$0].isRunning }
        #expect(left.count == 1)
        #expect(Set(cluster.running.map { cluster.nodes[$0].membership.stateHash }).count == 1)
    }

    private func cut(_ cluster: inout ClusterSimulation, _ one: Int, _ other: Int) {
        cluster.network.cut(from: one, to: other)
        cluster.network.cut(from: other, to: one)
    }
}

struct GoldenTraceTests {
    @Test func `a debug build gives the traces that are written down, as a release build must`() throws {
        let traces = try GoldenTraces.run()
        #expect(GoldenTraces.differences(traces).isEmpty)
        var other = traces
        other[0].value ^= 1
        #expect(GoldenTraces.differences(other).count == 1)
    }
}

/// The checkers notice what they are there for.
struct CheckerTests {
    private func formed(_ count: Int, seed: UInt64) throws -> ClusterSimulation {
        var cluster = ClusterSimulation(seed: seed)
        try cluster.startFormed(count)
        cluster.run(for: .seconds(5))
        return cluster
    }

    @Test func `a member that is dead though it answers, and tables that differ, break their bounds`() throws {
        var cluster = try formed(6, seed: 1)
        var checker = TimeBoundChecker(from: cluster.now)
        #expect(checker.violations(cluster).isEmpty)
        // A cut that the checker is not told of.
        for one in 0..<3 {
            for other in 3..<6 {
                cluster.network.cut(from: one, to: other)
                cluster.network.cut(from: other, to: one)
            }
        }
        var found: Set<Substring> = []
        for _ in 0..<80 {
            cluster.run(for: .milliseconds(500))
            found.formUnion(checker.violations(cluster).map { $0.prefix { $0 != ":" } })
        }
        #expect(found == ["bound 2", "bound 4"])
    }

    @Test func `a crashed node that is up too long, and one that is suspect too long, break their bounds`() throws {
        var cluster = try formed(6, seed: 2)
        var strict = TimeBoundChecker(from: cluster.now)
        var checker = strict
        strict.scale = 0.02
        cluster.crash(3, isHostDown: true)
        checker.disturbedAt = cluster.now
        strict.disturbedAt = cluster.now
        var found: Set<Substring> = []
        for _ in 0..<100 {
            cluster.run(for: .milliseconds(100))
            found.formUnion(strict.violations(cluster).map { $0.prefix { $0 != ":" } })
            #expect(checker.violations(cluster).isEmpty)
        }
        #expect(found.isSuperset(of: ["bound 2", "bound 3"]))
    }

    @Test func `two processes that seal under one boot id repeat nonces`() throws {
        var cluster = try formed(4, seed: 4)
        cluster.nonces = NonceChecker()
        cluster.run(for: .seconds(3))
        cluster.crash(2)
        try cluster.restart(2, seeds: [0])
        cluster.run(for: .seconds(3))
        #expect(cluster.violations.isEmpty)
        var checker = NonceChecker()
        #expect(checker.sealed(by: cluster.nodes[1], at: 1) == nil)
        #expect(checker.sealed(by: cluster.nodes[2], at: 2) == nil)
        #expect(checker.sealed(by: cluster.nodes[1], at: 4)?.hasPrefix("nonce: n4 and n1") == true)
    }

    @Test func `a datagram that changes a table again, and one that is answered at length, are found`() throws {
        var cluster = try formed(4, seed: 6)
        var checker = ReplayChecker(stride: 1)
        // The node has not handled this one: a copy that does is another than before.
        let stranger = AliveRecord(
            id: PeerID(rawValue: 7), bootID: 1, incarnation: 0, metadata: ClusterSimulation.metadata(of: 9))
        let event = Membership.Event.datagram(
            Codec.encode([.alive(stranger)]), from: ClusterSimulation.address(of: 1),
            sender: ClusterSimulation.id(of: 1),
            bootID: 1)
        #expect(checker.check(event, by: cluster.nodes[0], at: cluster.now)?.hasPrefix("replay:") == true)
        cluster.replays = ReplayChecker(stride: 1)
        cluster.run(for: .seconds(3))
        #expect(cluster.violations.isEmpty)
        cluster.replays = ReplayChecker(stride: 1, answerExcess: -72)
        cluster.run(for: .seconds(3))
        #expect(cluster.violations.contains { $0.contains("reflection:") })
    }

    @Test(arguments: [
        ("0 stall 2 for 10", true), ("0 split 0,1 for 10", true), ("0 stall 1 for 280", true),
        ("0 loss 40 1 for 10", true),
        ("0 split 0 for 10", false), ("0 stall 1 host for 10", false), ("0 stall 1 for 300", false),
        ("0 crash 1 for 10", false), ("0 loss 45 1 for 10", false), ("0 oneway 0 1 for 10", false),
    ])
    func `a member that is declared dead for what befell others is innocent`(text: String, isInnocent: Bool) throws {
        var cluster = try formed(4, seed: 7)
        var checker = InnocentChecker(
            try #require(FaultScript(text, nodes: 4)), period: cluster.configuration.period)
        checker.start = cluster.now
        #expect(checker.violations(cluster).isEmpty)
        cluster.falseDeathPairs.append(.init(at: cluster.now + .seconds(2), observer: 0, subject: 1))
        #expect(checker.violations(cluster).isEmpty != isInnocent)
        // Each is told once.
        #expect(checker.violations(cluster).isEmpty)
    }

    @Test func `a node that keeps or sends too much breaks its bounds`() throws {
        var cluster = try formed(6, seed: 5)
        var checker = QueueChecker()
        _ = checker.violations(cluster)
        cluster.run(for: .seconds(1))
        #expect(checker.violations(cluster).isEmpty)
        var strict = QueueChecker()
        strict.scale = 0.0001
        _ = strict.violations(cluster)
        cluster.crash(2, isHostDown: true)
        cluster.run(for: .milliseconds(1_200))
        let found = strict.violations(cluster)
        for what in ["members", "bytes in one period"] {
            #expect(found.contains { $0.contains(what) }, "\(what): \(found.prefix(4))")
        }
    }
}
