internal import ClusterModel
internal import Glibc
internal import Gossip
internal import Sodium
internal import UVLoop
internal import Wire

/// `peerbuild-gossip-bench [--nodes N] [--seconds S] [--period-ms T] [--packet BYTES]`: what membership costs on real
/// sockets of loopback, N members in this process, one thread.
struct Bench {
    var nodes = 64
    var seconds = 30
    var periodMilliseconds = 1_000
    var packetLimit = 1_200

    init(_ arguments: some Sequence<String>) {
        var rest = Array(arguments)
        while rest.count >= 2 {
            let (name, value) = (rest.removeFirst(), Int(rest.removeFirst()))
            guard let value, value > 0 else { Self.leave() }
            switch name {
            case "--nodes": nodes = value
            case "--seconds": seconds = value
            case "--period-ms": periodMilliseconds = value
            case "--packet": packetLimit = value
            default: Self.leave()
            }
        }
        if !rest.isEmpty { Self.leave() }
    }

    private static func leave() -> Never {
        let line = Array(
            "usage: peerbuild-gossip-bench [--nodes N] [--seconds S] [--period-ms T] [--packet BYTES]\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
        exit(64)
    }

    func run() async throws {
        let setup = BenchNode.Setup(
            keys: ClusterKeyRing(primary: try .generate()), loop: try LoopThread(), origin: .now,
            period: .milliseconds(periodMilliseconds), packetLimit: packetLimit)
        var members: [BenchNode] = []
        var seed: [PeerAddress] = []
        for number in 0..<nodes {
            let (address, node) = try await BenchNode.start(number, seeds: seed, setup)
            members.append(node)
            if seed.isEmpty { seed = [address] }
        }
        let joined = ContinuousClock.now
        while await !haveJoined(members) {
            try await Task.sleep(for: .milliseconds(50))
            guard joined.duration(to: .now) < .seconds(60) else { throw BenchFailure.notJoined }
        }
        print("joined: all \(nodes) know all after \(joined.duration(to: .now))")
        // News of the joins has gone round by then, and the links that the joins made are closed as idle.
        try await Task.sleep(for: .milliseconds(periodMilliseconds * 12))
        while await linkCount(members) > 0 {
            try await Task.sleep(for: .milliseconds(200))
            guard joined.duration(to: .now) < .seconds(150) else { throw BenchFailure.notQuiet }
        }
        let before = await sum(members)
        let (user, system) = Self.processorTime
        let start = ContinuousClock.now
        try await Task.sleep(for: .seconds(seconds))
        let span = start.duration(to: .now).inSeconds
        let after = await sum(members)
        let used = (Self.processorTime.user - user, Self.processorTime.system - system)
        let share = Double(nodes) * span
        func rate(_ value: UInt64, _ former: UInt64) -> String { Self.text(Double(value - former) / share) }
        print("nodes \(nodes), T \(periodMilliseconds) ms, \(Self.text(span)) s")
        print(
            "processor: \(Self.text((used.0 + used.1) * 1e6 / share)) µs/s per node",
            "(user \(Self.text(used.0 * 1e6 / share)), system \(Self.text(used.1 * 1e6 / share)); goal 80)")
        print(
            "datagrams: \(rate(after.out, before.out)) out, \(rate(after.in, before.in)) in per node and second;",
            "\(rate(after.bytes, before.bytes)) B/s sealed, with 28 B of IP and UDP each",
            "\(Self.text((Double(after.bytes - before.bytes) + 28 * Double(after.out - before.out)) / share)) B/s")
        print("false deaths: \(after.deaths - before.deaths), drops: \(after.drops - before.drops)")
        for member in members { await member.stop() }
        await setup.loop.shutDown()
    }

    private func haveJoined(_ members: [BenchNode]) async -> Bool {
        for member in members {
            guard await member.upCount == nodes else { return false }
        }
        return true
    }

    private func linkCount(_ members: [BenchNode]) async -> Int {
        var count = 0
        for member in members { count += await member.datagrams.links }
        return count
    }

    private struct Sum {
        var out: UInt64 = 0
        var `in`: UInt64 = 0
        var bytes: UInt64 = 0
        var deaths: UInt64 = 0
        var drops: UInt64 = 0
    }

    private func sum(_ members: [BenchNode]) async -> Sum {
        var sum = Sum()
        for member in members {
            let counters = await member.datagrams
            sum.out += counters.datagramsOut
            sum.in += counters.datagramsIn
            sum.bytes += counters.datagramBytesOut
            sum.drops += counters.datagramDrops.values.reduce(0, +)
            sum.deaths += await member.counters.deaths
        }
        return sum
    }

    private static var processorTime: (user: Double, system: Double) {
        var usage = rusage()
        getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return (seconds(usage.ru_utime), seconds(usage.ru_stime))
    }

    private static func text(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
}

enum BenchFailure: Error { case notJoined, notQuiet }

try await Bench(CommandLine.arguments.dropFirst()).run()
