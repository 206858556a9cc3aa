internal import ArgumentParser

/// Seeds as `7` or `1..20`, both ends included.
struct SeedRange: ExpressibleByArgument {
    let seeds: ClosedRange<UInt64>

    /// More than anybody waits for.
    private static let countMax: UInt64 = 1_000_000

    init?(argument: String) {
        let parts = argument.split(separator: ".", omittingEmptySubsequences: true)
        guard let first = parts.first.flatMap({ UInt64($0) }), parts.count <= 2 else { return nil }
        guard let last = parts.count == 2 ? UInt64(parts[1]) : first, last >= first, last - first < Self.countMax
        else { return nil }
        seeds = first...last
    }

    init(_ seeds: ClosedRange<UInt64>) { self.seeds = seeds }

    var defaultValueDescription: String { "\(seeds.lowerBound)..\(seeds.upperBound)" }
}
