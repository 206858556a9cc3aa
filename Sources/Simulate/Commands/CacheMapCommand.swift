internal import ArgumentParser
internal import CacheMap
internal import Simulation

extension DigestPage.Encoding: ExpressibleByArgument {}

/// `simulate cachemap`: how soon new keys are known, how often digests are wrong, and what they cost.
struct CacheMapCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cachemap", abstract: "Cache maps: spread, false hits, collection, bytes.")

    enum Format: String, ExpressibleByArgument, CaseIterable { case json }

    @Option(help: "Nodes of the cluster, 2 to 4,096.") var nodes = 64
    @Option(help: "Keys that each node holds at the start.") var keys = 1_000
    @Option(help: "New keys per second and node.") var rate = 1.0
    @Option(help: "Share of its keys that one node in eight collects, per cent.") var gc = 20
    @Option(help: "Datagrams lost, per cent.") var loss = 0
    @Option(help: "Seconds under load.") var seconds = 20
    @Option(help: "Two halves for so many periods, all nodes adding keys, then healed.") var cut = 0
    @Option(help: "Nodes that crash and start again under a new boot, one after the other.") var restart = 0
    @Option(help: "The seed of the run.") var seed: UInt64 = 1
    @Option(help: "Largest packet in bytes, 512 to 1,400.") var packetLimit = 1_200
    @Option(help: "Encoding of pages: smaller, bloom or rice.") var encoding = DigestPage.Encoding.smaller
    @Flag(help: "Measure the time of looking 100 keys up instead.") var lookup = false
    @Option(help: "json.") var format = Format.json

    func validate() throws {
        guard (2...4_096).contains(nodes) else { throw ValidationError("--nodes is \(nodes), allowed is 2 to 4096") }
        guard (0...1_000_000).contains(keys) else {
            throw ValidationError("--keys is \(keys), allowed is 0 to 1000000")
        }
        guard (0...1_000).contains(rate) else { throw ValidationError("--rate is \(rate), allowed is 0 to 1000") }
        guard (0...100).contains(gc) else { throw ValidationError("--gc is \(gc), allowed is 0 to 100") }
        guard (0...90).contains(loss) else { throw ValidationError("--loss is \(loss), allowed is 0 to 90") }
        guard (0...3_600).contains(seconds) else {
            throw ValidationError("--seconds is \(seconds), allowed is 0 to 3600")
        }
        guard (0...3_600).contains(cut) else { throw ValidationError("--cut is \(cut), allowed is 0 to 3600") }
        guard (0..<nodes).contains(restart) else {
            throw ValidationError("--restart is \(restart), allowed is 0 to \(nodes - 1)")
        }
        guard (512...1_400).contains(packetLimit) else {
            throw ValidationError("--packet-limit is \(packetLimit), allowed is 512 to 1400")
        }
    }

    func run() throws {
        guard !lookup else { return print(timeLookups()) }
        var experiment = CacheMapExperiment()
        experiment.nodes = nodes
        experiment.keys = keys
        experiment.rate = rate
        experiment.gcPercent = gc
        experiment.lossPercent = loss
        experiment.seconds = seconds
        experiment.seed = seed
        experiment.packetLimit = packetLimit
        experiment.encoding = encoding
        experiment.cutPeriods = cut
        experiment.restarts = restart
        let report = try experiment.run()
        print(report.json)
        guard report.violations.isEmpty else { throw ExitCode.failure }
    }

    private func timeLookups() -> String {
        let clock = ContinuousClock()
        let origin = clock.now
        return LookupTiming(nodes: nodes, keys: keys).run {
            let (seconds, attoseconds) = (clock.now - origin).components
            return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
        }.text
    }
}
