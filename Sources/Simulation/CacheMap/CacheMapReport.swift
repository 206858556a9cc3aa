internal import CacheMap
internal import ClusterModel

/// What a `CacheMapExperiment` measured.
package struct CacheMapReport: Sendable {
    /// Per node and second.
    struct Traffic: Sendable {
        var datagrams = 0.0
        /// Plaintext of datagrams.
        var bytes = 0.0
        var streamBytes = 0.0

        /// With the envelope and the headers of IP and UDP.
        var wireBytes: Double { bytes + datagrams * Double(Self.overhead) + streamBytes }
        /// XChaCha20-Poly1305's header and tag, IPv4, UDP.
        private static let overhead = 44 + 28
    }

    let experiment: CacheMapExperiment
    var formedAfter: Duration?
    var wholeDigestBytes = 0
    var quiet = Traffic()
    var busy = Traffic()
    var collected = 0
    var removedStillSeen = CacheMapChecker.RemovedKeys()
    /// From the heal of a cut until all knew the keys that both halves added; nil for no cut, or never.
    var healedAfter: Duration?
    var settledAfter: Duration?
    var falseHits = CacheMapChecker.FalseHits()
    /// For each watched key when each node knew, and how many there were.
    var spread: [(known: [Duration], nodes: Int)] = []
    var counters: [MapCounters] = []
    package internal(set) var violations: [String] = []
    package internal(set) var traceHash: UInt64 = 0

    init(experiment: CacheMapExperiment) { self.experiment = experiment }

    /// Seconds until `percent` of the nodes knew each watched key; nil for one that never got there.
    private func seconds(_ percent: Int) -> [Double?] {
        spread.map { known, nodes in
            let wanted = (nodes * percent + 99) / 100
            return known.count >= wanted && wanted > 0 ? known.sorted()[wanted - 1].inSeconds : nil
        }
    }

    private func spreadJSON(_ percent: Int) -> JSONText {
        let all = seconds(percent)
        let reached = all.compactMap(\.self).sorted()
        return .object([
            ("mean", reached.isEmpty ? .null : .number(reached.reduce(0, +) / Double(reached.count))),
            ("worst", reached.last.map { .number($0) } ?? .null),
            ("keys", .number(Double(all.count))), ("keysThatNeverGotThere", .number(Double(all.count - reached.count))),
        ])
    }

    private func trafficJSON(_ traffic: Traffic) -> JSONText {
        .object([
            ("wireBytes", .number(traffic.wireBytes)), ("datagrams", .number(traffic.datagrams)),
            ("streamBytes", .number(traffic.streamBytes)),
        ])
    }

    private func falseHitsJSON(_ hits: CacheMapChecker.FalseHits) -> JSONText {
        .object([
            ("asked", .number(Double(hits.asked))), ("hits", .number(Double(hits.hits))),
            ("rate", .number(hits.rate)), ("promised", .number(hits.promisedRate)),
            ("ratio", hits.promised == 0 ? .null : .number(Double(hits.hits) / hits.promised)),
        ])
    }

    private var removedJSON: JSONText {
        .object([
            ("asked", .number(Double(removedStillSeen.asked))), ("hits", .number(Double(removedStillSeen.hits))),
            ("rate", .number(removedStillSeen.rate)), ("replicas", .number(Double(removedStillSeen.replicas))),
            ("lateReplicas", .number(Double(removedStillSeen.late))),
        ])
    }

    private func sum(_ counter: KeyPath<MapCounters, UInt64>) -> JSONText {
        .number(Double(counters.reduce(0) { $0 + $1[keyPath: counter] }))
    }

    package var json: String {
        let sizes = BitsPerKey(keys: max(1_000, experiment.keys), packetLimit: experiment.packetLimit)
        return JSONText.object([
            ("nodes", .number(Double(experiment.nodes))), ("keysPerNode", .number(Double(experiment.keys))),
            ("newKeysPerSecondAndNode", .number(experiment.rate)),
            ("gcPercent", .number(Double(experiment.gcPercent))),
            ("lossPercent", .number(Double(experiment.lossPercent))), ("seed", .number(Double(experiment.seed))),
            ("packetLimit", .number(Double(experiment.packetLimit))),
            ("cutPeriods", .number(Double(experiment.cutPeriods))),
            ("healedSeconds", healedAfter.map { .number($0.inSeconds) } ?? .null),
            ("restarts", .number(Double(experiment.restarts))),
            ("formedSeconds", formedAfter.map { .number($0.inSeconds) } ?? .null),
            ("formationStreamBytesPerNode", .number(Double(wholeDigestBytes) / Double(max(1, experiment.nodes)))),
            ("spreadSeconds99", spreadJSON(99)), ("spreadSeconds100", spreadJSON(100)),
            ("falseHits", falseHitsJSON(falseHits)),
            ("keysCollected", .number(Double(collected))),
            ("removedStillSeenAfter3Periods", removedJSON),
            ("settledSeconds", settledAfter.map { .number($0.inSeconds) } ?? .null),
            ("bytesPerNodeAndSecond", .object([("quiet", trafficJSON(quiet)), ("load", trafficJSON(busy))])),
            ("bitsPerKey", sizes.json),
            (
                "counters",
                .object([
                    ("deltasPublished", sum(\.deltasPublished)), ("gaps", sum(\.gaps)), ("fetches", sum(\.fetches)),
                    ("fetchesFailed", sum(\.fetchesFailed)), ("wholeDigests", sum(\.wholeDigests)),
                    ("rootDifferences", sum(\.rootDifferences)), ("damaged", sum(\.damaged)),
                    ("malformed", sum(\.malformed)), ("refused", sum(\.refused)),
                ])
            ),
            ("invariantViolations", .array(violations.map { .string($0) })),
            ("traceHash", .string(String(traceHash, radix: 16))),
        ]).text
    }
}
