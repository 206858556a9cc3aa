internal import CacheMap
internal import ClusterModel

/// `simulate cachemap`: measures cache maps in a simulated cluster, or the time of look-ups.
package enum CacheMapCommand {
    package static let usage = """
        usage: simulate cachemap [--nodes N] [--keys K] [--rate R] [--gc PERCENT] [--loss PERCENT] [--seconds S]
                                 [--seed SEED] [--packet BYTES] [--encoding smaller|bloom|rice] [--format json]
               simulate cachemap --lookup [--nodes N] [--keys K]
        """

    /// Why the arguments cannot be used, in a sentence.
    package struct ArgumentError: Error, CustomStringConvertible {
        package let description: String
    }

    /// What a run said, and whether it went as it should.
    package struct Outcome: Sendable {
        package let text: String
        package let isGood: Bool
    }

    /// `clock` gives nanoseconds and is used for `--lookup` only.
    package static func run(_ arguments: [String], clock: () -> Int64) throws -> Outcome {
        var experiment = CacheMapExperiment()
        var isLookup = false
        var rest = arguments[...]
        while let flag = rest.popFirst() {
            if flag == "--lookup" {
                isLookup = true
                continue
            }
            guard let text = rest.popFirst() else { throw ArgumentError(description: "\(flag) needs a value") }
            try set(flag, text, &experiment)
        }
        if isLookup {
            return Outcome(
                text: try LookupTiming(nodes: experiment.nodes, keys: experiment.keys).run(clock).text, isGood: true)
        }
        let report = try experiment.run()
        return Outcome(text: report.json, isGood: report.violations.isEmpty)
    }

    private static func set(_ flag: String, _ text: String, _ experiment: inout CacheMapExperiment) throws {
        func number(_ range: ClosedRange<Int>) throws -> Int {
            guard let value = Int(text), range.contains(value) else {
                throw ArgumentError(
                    description: "\(flag): \"\(text)\" is no number from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
        switch flag {
        case "--nodes": experiment.nodes = try number(2...4_096)
        case "--keys": experiment.keys = try number(0...1_000_000)
        case "--gc": experiment.gcPercent = try number(0...100)
        case "--loss": experiment.lossPercent = try number(0...90)
        case "--seconds": experiment.seconds = try number(0...3_600)
        case "--seed": experiment.seed = UInt64(try number(0...Int.max))
        case "--packet": experiment.packetLimit = try number(512...1_400)
        case "--rate":
            guard let rate = Double(text), rate >= 0, rate <= 1_000 else {
                throw ArgumentError(description: "--rate: \"\(text)\" is no number from 0 to 1000")
            }
            experiment.rate = rate
        case "--encoding":
            guard let encoding = DigestPage.Encoding(rawValue: text) else {
                throw ArgumentError(description: "--encoding: \"\(text)\" is none of smaller, bloom, rice")
            }
            experiment.encoding = encoding
        case "--format":
            guard text == "json" else { throw ArgumentError(description: "--format: only json is known") }
        default: throw ArgumentError(description: "unknown option \(flag)\n\(usage)")
        }
    }
}

/// How long 100 keys take to look up among the digests of all nodes.
struct LookupTiming: Sendable {
    let nodes: Int
    let keys: Int
    private static let asked = 100
    private static let rounds = 200

    func run(_ clock: () -> Int64) throws -> JSONText {
        guard let hashKey = MapHashKey(bytes: [UInt8](repeating: 3, count: 16)) else { return .null }
        var settings = CacheMapDigest.Settings()
        settings.budget = .max / 1_000_000
        var digests = PeerDigests(hashKey: hashKey)
        for node in 0..<nodes {
            var digest = CacheMapDigest(
                epoch: 1, hashKey: hashKey, clusterSize: nodes,
                entries: (0..<keys).map {
                    MapEntry(key: CacheMapSimulation.key(node * keys + $0), cost: 1, lastUsed: 0)
                }, settings: settings)
            for part in digest.answer(.everything, at: .zero) {
                _ = digests.apply(part, from: PeerID(rawValue: UInt64(node)))
            }
            // Some changes since the pages, as there are on a node that lives.
            for number in 0..<100 {
                digest.add(MapEntry(key: CacheMapSimulation.key(1 << 42 + node * 100 + number), cost: 1, lastUsed: 0))
            }
            for delta in digest.flush(at: .zero) { _ = digests.apply(delta, from: PeerID(rawValue: UInt64(node))) }
        }
        var times: [Int64] = []
        var found = 0
        for round in 0..<Self.rounds {
            // Half of the keys are held by somebody.
            let wanted = (0..<Self.asked).map { index in
                CacheMapSimulation.key(
                    index.isMultiple(of: 2) ? (round * 7_919 + index * 104_729) % max(1, nodes * keys) : 1 << 43 + index
                )
            }
            let begin = clock()
            found += digests.holders(of: wanted).count { !$0.isEmpty }
            times.append(clock() - begin)
        }
        times.sort()
        return .object([
            ("keysAsked", .number(Double(Self.asked))), ("nodes", .number(Double(nodes))),
            ("keysPerNode", .number(Double(keys))), ("rounds", .number(Double(Self.rounds))),
            ("found", .number(Double(found))),
            ("medianMicroseconds", .number(Double(times[times.count / 2]) / 1_000)),
            ("p99Microseconds", .number(Double(times[times.count * 99 / 100]) / 1_000)),
        ])
    }
}
