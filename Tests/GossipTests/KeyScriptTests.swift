import ClusterModel
import Testing

@testable import ClusterKeys
@testable import Gossip
@testable import Simulation

/// Keys that change under partitions, in whole clusters.
struct KeyScriptTests {
    @Test(arguments: [
        // Both halves rotate; one of them three times.
        "50 split 0,1,2 for 300; 100 rotate 0; 120 rotate 5",
        "50 split 0,1,2 for 400; 80 rotate 1; 120 rotate 2; 160 rotate 0; 120 rotate 6",
        // Three parts, each with a key of its own.
        "50 split 0,1 for 300; 50 split 2,3,4 for 300; 100 rotate 0; 110 rotate 2; 120 rotate 6",
        // A node is down, or cut off, through two rotations.
        "20 crash 3 host for 400 snapshot; 90 rotate 0; 200 rotate 5", "20 crash 3 for 400; 90 rotate 0; 200 rotate 5",
        "20 split 4 for 400; 90 rotate 0; 200 rotate 5; 300 rotate 4",
        // The part that was away has lost what it knew of the others.
        "20 split 4 for 400; 90 rotate 0; 150 rotate 4; 250 crash 4 for 50",
        // Who rotates is killed under way; two rotate at once.
        "50 rotate 2; 51 crash 2 for 100 snapshot", "50 rotate 2; 52 crash 2 host", "50 rotate 2; 50 rotate 5",
        // A member stands still, and datagrams are lost.
        "40 stall 3 for 200; 60 rotate 1", "40 loss 30 2 for 200; 60 rotate 1; 150 rotate 6",
        "40 blocked 3 for 200; 60 rotate 1", "40 oneway 3 4 for 200; 60 rotate 3; 100 rotate 4",
        // Clocks that are an hour wrong, on the side that rotates, on one that is away, and after it.
        "10 jump 1 -3600; 50 split 0,1,2 for 300; 100 rotate 1; 120 rotate 5",
        "10 jump 1 3600; 50 split 0,1,2 for 300; 100 rotate 1; 120 rotate 5",
        "50 split 5 for 300; 100 rotate 1; 150 jump 0 3600; 160 jump 2 -3600",
        // A copy of a node's root directory has its ring too.
        "40 rotate 1; 60 clone 3 for 200; 100 rotate 3",
    ])
    func `a cluster that rotates its keys under faults ends with one ring`(text: String) throws {
        // More seeds and scripts: the random runs in release.
        var run = ScriptRun()
        run.seed = 1
        let outcome = try run.run(try #require(FaultScript(text, nodes: run.nodes)))
        #expect(outcome.violations.isEmpty, "\(outcome.violations.prefix(3))")
    }

    private func formed(_ count: Int, graceSeconds: UInt64 = 60) throws -> ClusterSimulation {
        var cluster = ClusterSimulation(seed: 11)
        cluster.keySettings = .init(graceSeconds: graceSeconds)
        try cluster.startFormed(count)
        cluster.run(for: .seconds(5))
        return cluster
    }

    private func sealing(_ cluster: ClusterSimulation) -> Set<KeyFingerprint> {
        Set(cluster.running.compactMap { cluster.sealingKey(of: $0) })
    }

    @Test func `a quiet cluster rotates in a period, and the old key goes after its grace`() throws {
        var cluster = try formed(16)
        let before = sealing(cluster)
        cluster.rotateKeys(of: 7)
        cluster.run(for: .seconds(3))
        #expect(cluster.nodes[7].keys?.finished == [nil])
        #expect(sealing(cluster).count == 1 && sealing(cluster).isDisjoint(with: before))
        #expect(cluster.nodes.allSatisfy { $0.keys?.rotation.ring.entries.count == 2 })
        #expect(cluster.nodes.allSatisfy { $0.membership.upCount == 16 } && cluster.falseDeaths.isEmpty)
        cluster.run(for: .seconds(64))
        #expect(cluster.nodes.allSatisfy { $0.keys?.rotation.ring.entries.count == 1 })
        #expect(cluster.keyChecker.violations(cluster, isLate: true).isEmpty && cluster.violations.isEmpty)
    }

    @Test func `halves that both rotated are one cluster again 8 periods after the heal`() throws {
        var cluster = try formed(8)
        for one in 0..<4 { for other in 4..<8 { cut(&cluster, one, other) } }
        cluster.run(for: .seconds(20))
        for node in [0, 5, 1, 2] {
            cluster.rotateKeys(of: node)
            cluster.run(for: .seconds(4))
        }
        #expect(sealing(cluster).count == 2)
        #expect(!cluster.keyChecker.violations(cluster, isLate: false).isEmpty)
        cluster.network.heal()
        cluster.run(for: .seconds(8))
        #expect(cluster.keyChecker.violations(cluster, isLate: false).isEmpty && ConvergenceChecker().holds(cluster))
    }

    private func cut(_ cluster: inout ClusterSimulation, _ one: Int, _ other: Int) {
        cluster.network.cut(from: one, to: other)
        cluster.network.cut(from: other, to: one)
    }

    @Test func `a random script has rotations for half of the seeds, which can be cut out`() throws {
        let scripts = (UInt64(1)...100).map { FaultScript.random(seed: $0, nodes: 8) }
        #expect((35...65).contains(scripts.count { $0.rotates }))
        let script = try #require(FaultScript("10 leave 4; 20 rotate 3; 30 split 0,1 for 64; 44 rotate 5", nodes: 8))
        var shrinker = ScriptShrinker()
        let minimal = shrinker.shrink(script) { script in
            script.entries.contains { if case .rotate(5) = $0.fault { true } else { false } }
        }
        #expect("\(minimal)" == "0 rotate 5")
    }

    // MARK: The checker

    @Test func `what a removed key sealed breaks its grace when it is taken later`() {
        var checker = KeyChecker()
        checker.graceSeconds = 60
        let keys = (0...1).map { SimulatedKey(UInt64($0)) }
        var ring = KeyRing(entries: [.init(key: keys[0], generation: 1)], mapKey: [1])
        checker.ringChanged(ring, of: 3, at: 100)
        #expect(checker.accepted(keys[0].fingerprint, by: 3, at: 9_000) == nil)
        ring.merge(
            KeyRing(
                entries: [.init(key: keys[1], generation: 2)],
                removed: [KeyRank(fingerprint: keys[0].fingerprint, generation: 1)], mapKey: [1]), at: 100,
            graceSeconds: 9_999)
        checker.ringChanged(ring, of: 3, at: 100)
        // Hearing of it again does not begin the grace anew.
        checker.ringChanged(ring, of: 3, at: 150)
        #expect(checker.accepted(keys[0].fingerprint, by: 3, at: 161) == nil)
        #expect(checker.accepted(keys[0].fingerprint, by: 3, at: 162)?.hasPrefix("key grace:") == true)
        #expect(checker.accepted(keys[1].fingerprint, by: 3, at: 162) == nil)
        #expect(checker.accepted(keys[0].fingerprint, by: 4, at: 162) == nil)
        checker.clockJumped(of: 3, by: 100)
        #expect(checker.accepted(keys[0].fingerprint, by: 3, at: 261) == nil)
    }

    @Test func `nodes with different rings, disks or graces break the agreement`() throws {
        var cluster = try formed(3)
        #expect(cluster.keyChecker.violations(cluster, isLate: true).isEmpty)
        let ring = try #require(cluster.nodes[1].keys?.rotation.ring)
        var other = ring
        try other.install(SimulatedKey(9))
        cluster.nodes[1].keys?.rotation.ring = other
        func causes(isLate: Bool = false) -> Set<String> {
            Set(cluster.keyChecker.violations(cluster, isLate: isLate).map { String($0.prefix { $0 != ":" }) })
        }
        #expect(causes() == ["key agreement", "key disk"])
        cluster.nodes[1].keys?.kept = other
        #expect(causes() == ["key agreement"])
        for index in 0..<3 {
            var fresh = ring
            try fresh.install(SimulatedKey(9))
            try fresh.use(SimulatedKey(9).fingerprint)
            try fresh.remove(SimulatedKey(0).fingerprint, graceSeconds: 60, now: 1)
            cluster.nodes[index].keys?.rotation.ring = fresh
            cluster.nodes[index].keys?.kept = fresh
        }
        #expect(causes().isEmpty && causes(isLate: true) == ["key grace"])
    }
}
