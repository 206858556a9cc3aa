/// The most that a figure of `scripts/simulate gossip` may be over all runs, as `detectionPeriodsMean=3.5`.
package struct FigureBound: Hashable, Sendable {
    /// Figures by their names in the report's sum.
    package enum Figure: String, CaseIterable, Sendable {
        case detectionPeriodsMean, detectionPeriodsWorst, falseDeaths, joinPeriods, bootstrapPeriods
        case bytesPerNodePerPeriod, healPeriods
    }

    package let figure: Figure
    /// In the figure's own unit; 0 or more.
    package let most: Double

    /// Takes `FIGURE=VALUE`; nil for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let figure = Figure(rawValue: String(parts[0])), let most = Double(parts[1]),
            most.isFinite, most >= 0
        else { return nil }
        self.figure = figure
        self.most = most
    }

    /// What is wrong with what was measured, in words; nil when it keeps the bound.
    ///
    /// A figure that was not measured (nil) keeps none: a gate that measures nothing would hold for ever.
    package func failure(_ measured: Double?) -> String? {
        guard let measured else {
            return "\(figure.rawValue) was not measured, at most \(most) is allowed; "
                + "add what measures it, as --crash 1 does a detection"
        }
        return measured <= most ? nil : "\(figure.rawValue) is \(measured), at most \(most) is allowed"
    }
}
