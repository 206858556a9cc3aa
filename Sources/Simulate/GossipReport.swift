internal import Foundation
internal import Simulation

/// The runs of `simulate gossip` and their sum; what was not measured is null.
struct GossipReport: Encodable {
    var runs: [Run]
    var sum: Sum

    struct Run: Encodable {
        var seed: UInt64
        var detectionPeriods: [Double]
        var falseDeaths: Int
        var joinPeriods: Double?
        var bootstrapPeriods: Double?
        var bytesPerNodePerPeriod: Double?
        var healPeriods: Double?
        var suspicions: UInt64
        var invariantViolations: [String]
        /// Hash of all effects of all nodes.
        var trace: String
        var command: String

        init(_ outcome: GossipScenario.Outcome, command: String) {
            seed = outcome.seed
            detectionPeriods = outcome.detectionPeriods
            falseDeaths = outcome.falseDeaths
            joinPeriods = outcome.joinPeriods
            bootstrapPeriods = outcome.bootstrapPeriods
            bytesPerNodePerPeriod = outcome.bytesPerNodePerPeriod
            healPeriods = outcome.healPeriods
            suspicions = outcome.suspicions
            invariantViolations = outcome.violations
            trace = String(outcome.trace, radix: 16)
            self.command = command
        }

        var line: String {
            "seed \(seed): " + Sum([self]).text + " trace \(trace)"
        }
    }

    struct Sum: Encodable {
        var detectionPeriodsMean: Double?
        var detectionPeriodsWorst: Double?
        var falseDeaths: Int
        var joinPeriods: Double?
        var bootstrapPeriods: Double?
        var bytesPerNodePerPeriod: Double?
        var healPeriods: Double?
        var invariantViolations: Int

        /// Means of what was measured; of joining, forming and healing the worst.
        init(_ runs: [Run]) {
            let detections = runs.flatMap(\.detectionPeriods)
            detectionPeriodsMean = Self.mean(detections)
            detectionPeriodsWorst = detections.max()
            falseDeaths = runs.reduce(0) { $0 + $1.falseDeaths }
            joinPeriods = runs.compactMap(\.joinPeriods).max()
            bootstrapPeriods = runs.compactMap(\.bootstrapPeriods).max()
            bytesPerNodePerPeriod = Self.mean(runs.compactMap(\.bytesPerNodePerPeriod))
            healPeriods = runs.compactMap(\.healPeriods).max()
            invariantViolations = runs.reduce(0) { $0 + $1.invariantViolations.count }
        }

        private static func mean(_ values: [Double]) -> Double? {
            values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
        }

        var text: String {
            func number(_ value: Double?) -> String { value.map { String(format: "%.2f", $0) } ?? "-" }
            return
                "detection mean \(number(detectionPeriodsMean)) worst \(number(detectionPeriodsWorst)) "
                + "false deaths \(falseDeaths) join \(number(joinPeriods)) bootstrap \(number(bootstrapPeriods)) "
                + "bytes \(number(bytesPerNodePerPeriod)) heal \(number(healPeriods)) violations \(invariantViolations)"
        }

        /// Nil where nothing was measured.
        func value(of figure: FigureBound.Figure) -> Double? {
            switch figure {
            case .detectionPeriodsMean: detectionPeriodsMean
            case .detectionPeriodsWorst: detectionPeriodsWorst
            case .falseDeaths: Double(falseDeaths)
            case .joinPeriods: joinPeriods
            case .bootstrapPeriods: bootstrapPeriods
            case .bytesPerNodePerPeriod: bytesPerNodePerPeriod
            case .healPeriods: healPeriods
            }
        }

        /// Null, not absent, where nothing was measured.
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(detectionPeriodsMean, forKey: .detectionPeriodsMean)
            try container.encode(detectionPeriodsWorst, forKey: .detectionPeriodsWorst)
            try container.encode(falseDeaths, forKey: .falseDeaths)
            try container.encode(joinPeriods, forKey: .joinPeriods)
            try container.encode(bootstrapPeriods, forKey: .bootstrapPeriods)
            try container.encode(bytesPerNodePerPeriod, forKey: .bytesPerNodePerPeriod)
            try container.encode(healPeriods, forKey: .healPeriods)
            try container.encode(invariantViolations, forKey: .invariantViolations)
        }

        private enum CodingKeys: String, CodingKey {
            case detectionPeriodsMean, detectionPeriodsWorst, falseDeaths, joinPeriods, bootstrapPeriods
            case bytesPerNodePerPeriod, healPeriods, invariantViolations
        }
    }

    init(runs: [Run]) {
        self.runs = runs
        sum = Sum(runs)
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
}
