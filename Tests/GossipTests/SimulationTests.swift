import ClusterModel
import Simulation
import Testing

@testable import Gossip

/// Random lives of small clusters: measured by the same scenario as `scripts/simulate`.
struct ScenarioTests {
    @Test(arguments: UInt64(1)...8)
    func `members that fall silent under loss are found by all, and nobody else dies`(seed: UInt64) throws {
        var scenario = GossipScenario()
        scenario.nodes = 16
        scenario.seed = seed
        scenario.loss = 0.1
        scenario.crashes = 2
        scenario.periods = 10
        let outcome = try scenario.run()
        #expect(outcome.violations.isEmpty && outcome.falseDeaths == 0, "seed \(seed): \(outcome)")
        #expect(outcome.detectionPeriods.count == 2 && outcome.detectionPeriods.allSatisfy { $0 <= 6 })
    }

    @Test func `stalled processes whose kernels answer are not dead`() throws {
        var scenario = GossipScenario()
        scenario.nodes = 24
        scenario.stalledNodes = 3
        scenario.stallPeriods = 8
        scenario.periods = 30
        let outcome = try scenario.run()
        #expect(outcome.violations.isEmpty && outcome.falseDeaths == 0, "\(outcome)")
    }

    @Test func `a process that is gone on a host that lives is found in 2 periods`() throws {
        var scenario = GossipScenario()
        scenario.nodes = 16
        scenario.crashes = 3
        scenario.hostLives = true
        let outcome = try scenario.run()
        #expect(outcome.detectionPeriods.count == 3 && outcome.detectionPeriods.allSatisfy { $0 <= 2.1 }, "\(outcome)")
    }

    @Test func `the trace of a seed is the same in every run`() throws {
        var scenario = GossipScenario()
        scenario.nodes = 8
        scenario.seed = 7
        scenario.loss = 0.2
        scenario.crashes = 1
        #expect(try scenario.run().trace == scenario.run().trace)
    }
}

/// A cluster in which all know all; records an issue when it does not form.
private func cluster(
    of count: Int, seed: UInt64, configuration: GossipConfiguration = GossipConfiguration()
) throws -> ClusterSimulation {
    var cluster = ClusterSimulation(seed: seed, configuration: configuration)
    for index in 0..<count {
        _ = try cluster.start(seeds: index == 0 ? [] : [0])
        cluster.run(for: .milliseconds(20))
    }
    let formed = cluster.run(within: .seconds(10)) { AgreementChecker().violations($0).isEmpty }
    #expect(formed, "seed \(seed): \(AgreementChecker().violations(cluster).prefix(5))")
    return cluster
}

private func expectNone(_ violations: [String], seed: UInt64) {
    #expect(violations.isEmpty, "seed \(seed): \(violations.prefix(5))")
}

struct SimulationTests {
    @Test(arguments: UInt64(1)...2)
    func `32 nodes that join through one seed all see each other within 3 seconds`(seed: UInt64) throws {
        var cluster = ClusterSimulation(seed: seed)
        for index in 0..<32 { _ = try cluster.start(seeds: index == 0 ? [] : [0]) }
        let joined = cluster.run(within: .seconds(3)) { AgreementChecker().violations($0).isEmpty }
        #expect(joined, "seed \(seed): \(AgreementChecker().violations(cluster).prefix(5))")
        expectNone(cluster.violations, seed: seed)
    }

    @Test(arguments: UInt64(10)..<14)
    func `a crash is seen as dead by all within 6 periods`(seed: UInt64) throws {
        var cluster = try cluster(of: 12, seed: seed)
        cluster.run(for: .milliseconds(Int64(seed) * 137 % 1_000))
        cluster.crash(5)
        let began = cluster.now
        let known = cluster.run(within: .seconds(10)) { cluster in
            cluster.running.allSatisfy { cluster.state(of: 5, seenBy: $0) == .dead }
        }
        #expect(known && cluster.now - began <= .seconds(6), "seed \(seed): \(cluster.now - began)")
        expectNone(cluster.falseDeaths, seed: seed)
        expectNone(cluster.violations, seed: seed)
    }

    @Test(arguments: [2, 3])
    func `small clusters see a crash too`(count: Int) throws {
        var cluster = try cluster(of: count, seed: 3)
        cluster.crash(count - 1)
        let known = cluster.run(within: .seconds(10)) { cluster in
            cluster.running.allSatisfy { cluster.state(of: count - 1, seenBy: $0) == .dead }
        }
        #expect(known)
    }

    @Test func `a quarter that crashes at once is seen within 10 periods`() throws {
        var cluster = try cluster(of: 16, seed: 21)
        for index in 0..<4 { cluster.crash(index * 4) }
        let known = cluster.run(within: .seconds(10)) { AgreementChecker().violations($0).isEmpty }
        #expect(known, "\(AgreementChecker().violations(cluster).prefix(5))")
        expectNone(cluster.falseDeaths, seed: 21)
    }

    @Test(arguments: UInt64(30)..<32)
    func `20 per cent loss kills nobody in 120 seconds`(seed: UInt64) throws {
        var cluster = try cluster(of: 16, seed: seed)
        cluster.network.loss = 0.2
        cluster.network.duplication = 0.02
        cluster.run(for: .seconds(120))
        expectNone(cluster.falseDeaths, seed: seed)
        expectNone(cluster.violations, seed: seed)
        expectNone(BudgetChecker(bytesPerSecondMax: 4_000).violations(cluster, over: .seconds(120)), seed: seed)
        cluster.network.loss = 0
        let agreed = cluster.run(within: .seconds(8)) { AgreementChecker().violations($0).isEmpty }
        #expect(agreed, "seed \(seed): \(AgreementChecker().violations(cluster).prefix(5))")
    }

    @Test func `a quiet cluster is quiet`() throws {
        var cluster = try cluster(of: 8, seed: 40)
        cluster.run(for: .seconds(10))
        let before = cluster.nodes.map(\.bytesSent)
        cluster.run(for: .seconds(20))
        for (node, bytes) in zip(cluster.nodes, before) { #expect(node.bytesSent - bytes <= 20 * 200) }
        expectNone(cluster.falseDeaths, seed: 40)
    }

    @Test(arguments: UInt64(50)..<53)
    func `a partition in halves heals without seeds`(seed: UInt64) throws {
        var cluster = try cluster(of: 12, seed: seed)
        for index in 6..<12 { cluster.network.setGroup(1, of: index) }
        let split = cluster.run(within: .seconds(20)) { cluster in
            cluster.running.allSatisfy { observer in
                cluster.running.allSatisfy {
                    (observer < 6) == ($0 < 6) || cluster.state(of: $0, seenBy: observer) == .dead
                }
            }
        }
        #expect(split)
        cluster.run(for: .seconds(60))
        cluster.network.heal()
        let observed = cluster.observations.count
        let healed = cluster.run(within: .seconds(8)) { AgreementChecker().violations($0).isEmpty }
        #expect(healed, "seed \(seed): \(AgreementChecker().violations(cluster).prefix(5))")
        // Nobody dies of the healing.
        #expect(!cluster.observations[observed...].contains { $0.change.kind == .died }, "seed \(seed)")
        expectNone(cluster.violations, seed: seed)
    }

    @Test(arguments: UInt64(60)..<66)
    func `a node that stops for 3 seconds is not lost and accuses nobody`(seed: UInt64) throws {
        var cluster = try cluster(of: 8, seed: seed)
        cluster.run(for: .milliseconds(Int64(seed % 6) * 170))
        cluster.pause(3, for: .seconds(3))
        cluster.run(for: .seconds(10))
        expectNone(cluster.falseDeaths, seed: seed)
        expectNone(AgreementChecker().violations(cluster), seed: seed)
        #expect(!cluster.observations.contains { $0.observer == 3 && $0.change.kind == .suspected })
        let noticed = cluster.nodes[3].notices.contains { if case .loopWasLate = $0 { true } else { false } }
        #expect(noticed)
    }

    @Test func `a node that leaves is left and never dead`() throws {
        var cluster = try cluster(of: 8, seed: 70)
        cluster.tell(2, .leave)
        let told = cluster.run(within: .seconds(1)) { cluster in
            (0..<8).allSatisfy { $0 == 2 || cluster.state(of: 2, seenBy: $0) == .left }
        }
        #expect(told)
        cluster.run(for: .seconds(20))
        #expect(!cluster.nodes[2].isRunning)
        #expect(!cluster.observations.contains { $0.change.kind == .died })
        expectNone(AgreementChecker().violations(cluster), seed: 70)
    }

    /// It judges nobody any more; a wake for a verdict that it will not give would come back at once, for ever.
    @Test func `a node that leaves while it suspects others sleeps until it has left`() throws {
        var cluster = try cluster(of: 8, seed: 72)
        cluster.crash(3, isHostDown: true)
        cluster.crash(4, isHostDown: true)
        let accuses = cluster.run(within: .seconds(5), every: .milliseconds(10)) { cluster in
            cluster.running.allSatisfy { cluster.nodes[$0].membership.hasSuspects }
        }
        #expect(accuses)
        for index in cluster.running { cluster.tell(index, .leave) }
        cluster.run(for: .seconds(5))
        expectNone(cluster.violations, seed: 72)
        #expect(cluster.running.isEmpty)
    }

    @Test func `the last but one can leave`() throws {
        var cluster = try cluster(of: 2, seed: 71)
        cluster.tell(1, .leave)
        cluster.run(for: .seconds(3))
        #expect(cluster.state(of: 1, seenBy: 0) == .left)
    }

    @Test(arguments: [false, true])
    func `a node that restarts rejoins from its snapshot while the seed is down`(wasDead: Bool) throws {
        var cluster = try cluster(of: 6, seed: 80)
        cluster.run(for: .seconds(10))
        cluster.crash(0)
        cluster.crash(4)
        cluster.run(for: wasDead ? .seconds(15) : .milliseconds(500))
        try cluster.restart(4, seeds: [0])
        let back = cluster.run(within: .seconds(5)) { cluster in
            cluster.running.allSatisfy { observer in
                cluster.nodes[observer].membership.member(ClusterSimulation.id(of: 4)).map {
                    $0.state == .alive && $0.bootID == 2
                } == true
            }
        }
        #expect(back)
        cluster.run(for: .seconds(15))
        expectNone(AgreementChecker().violations(cluster), seed: 80)
        let unreachable = cluster.nodes[4].notices.filter { $0 == .seedUnreachable(ClusterSimulation.address(of: 0)) }
        #expect(unreachable.count == 1)
    }

    @Test func `a node waits for its seed for ever`() throws {
        var cluster = ClusterSimulation(seed: 90)
        _ = try cluster.start(seeds: [1])
        cluster.run(for: .seconds(200))
        _ = try cluster.start(seeds: [])
        let met = cluster.run(within: .seconds(70)) { AgreementChecker().violations($0).isEmpty }
        #expect(met)
        let notices = cluster.nodes[0].notices
        #expect(notices.first == .seedUnreachable(ClusterSimulation.address(of: 1)))
        #expect(notices.last == .seedReached(ClusterSimulation.address(of: 1), ClusterSimulation.id(of: 1)))
        #expect(notices.count == 2)
    }

    @Test func `load and draining reach all`() throws {
        var cluster = try cluster(of: 8, seed: 100)
        var load = LoadRecord()
        load.slots = 4
        load.running = 4
        cluster.tell(1, .loadChanged(load))
        cluster.tell(1, .draining(true))
        let known = cluster.run(within: .seconds(1)) { cluster in
            (0..<8).allSatisfy {
                guard let load = cluster.nodes[$0].membership.member(ClusterSimulation.id(of: 1))?.load else {
                    return false
                }
                return load.running == 4 && load.isDraining
            }
        }
        #expect(known)
    }

    @Test func `user records reach all once and starve no membership news`() throws {
        var cluster = try cluster(of: 16, seed: 110)
        cluster.run(for: .seconds(10))
        // 200 records of 900 B at once, then a crash in the middle of them.
        for number in 0..<200 {
            cluster.tell(1, .publish([UInt8](repeating: UInt8(number), count: 900), isUrgent: true))
        }
        cluster.crash(9)
        let began = cluster.now
        let known = cluster.run(within: .seconds(10)) { cluster in
            cluster.running.allSatisfy { cluster.state(of: 9, seenBy: $0) == .dead }
        }
        #expect(known && cluster.now - began < .seconds(6))
        cluster.run(for: .seconds(20))
        // Best effort: 6 copies pushed by each who has one miss a node with probability e^-6.
        #expect(cluster.deliveries.count >= 14 * 200 * 99 / 100, "\(cluster.deliveries.count)")
        struct Copy: Hashable { var node: Int, number: UInt8 }
        let copies = cluster.deliveries.map { Copy(node: $0.node, number: $0.bytes[0]) }
        #expect(Set(copies).count == copies.count)
    }

    @Test(arguments: [512, 1_200])
    func `datagrams keep the packet limit`(limit: Int) throws {
        var configuration = GossipConfiguration()
        configuration.packetLimit = limit
        var cluster = try cluster(of: 10, seed: 120, configuration: configuration)
        let size = cluster.nodes[0].membership.publishBytesMax
        for _ in 0..<5 { cluster.tell(3, .publish([UInt8](repeating: 7, count: size), isUrgent: true)) }
        cluster.crash(2)
        cluster.run(for: .seconds(8))
        expectNone(BudgetChecker(bytesPerSecondMax: 10_000).violations(cluster, over: .seconds(8)), seed: 120)
        expectNone(AgreementChecker().violations(cluster), seed: 120)
        #expect(cluster.deliveries.count == 9 * 5 || cluster.deliveries.count >= 8 * 5)
    }

    @Test func `the same seed gives the same trace and another seed another`() throws {
        func trace(_ seed: UInt64) throws -> UInt64 {
            var cluster = try cluster(of: 6, seed: seed)
            cluster.network.loss = 0.1
            cluster.crash(1)
            cluster.run(for: .seconds(10))
            try cluster.restart(1, seeds: [0])
            cluster.run(for: .seconds(5))
            return cluster.traceHash
        }
        #expect(try trace(1) == trace(1))
        #expect(try trace(1) != trace(2))
    }
}
