internal import ArgumentParser
internal import BuildClient
internal import BuildKitProtocol
internal import Foundation

/// `peerbuild du`.
struct DiskUsageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "du", abstract: "Shows what the build cache holds.")

    @OptionGroup var node: NodeOptions
    @Option(help: "Only records that match, such as type==regular.") var filter: [String] = []
    @Option(help: "table or json.") var format = StatusCommand.Format.table

    func run() async throws {
        let (format, filter) = (format, filter)
        let records = try await node.withNode { try await $0.diskUsage(filter: filter) }
        switch format {
        case .json: for record in records { Terminal.printResult(try record.jsonText()) }
        case .table:
            let rows = records.map {
                [$0.id, $0.recordType, $0.inUse ? "false" : "true", TextTable.bytes($0.size), $0.description_p]
            }
            let total = records.reduce(Int64(0)) { $0 + $1.size }
            Terminal.printResult(TextTable.format(["ID", "TYPE", "RECLAIMABLE", "SIZE", "DESCRIPTION"], rows))
            Terminal.printResult("Total: \(TextTable.bytes(total))")
        }
    }
}

/// `peerbuild prune`.
struct PruneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "prune", abstract: "Removes build cache.")

    @OptionGroup var node: NodeOptions
    @Option(help: "Only records that match, such as type==regular.") var filter: [String] = []
    @Flag(help: "Includes what is shared or internal.") var all = false
    @Option(help: "Keeps records used within this time, such as 48h.") var keepDuration: DurationArgument?
    @Option(help: "Removes only down to this size, such as 10GB.") var maxUsedSpace: SizeArgument?
    @Option(help: "Space that is always kept for the cache.") var reservedSpace: SizeArgument?
    @Option(help: "Space that shall be free on the disk.") var minFreeSpace: SizeArgument?

    func run() async throws {
        var request = Moby_Buildkit_V1_PruneRequest()
        request.filter = filter
        request.all = all
        request.keepDuration = keepDuration?.nanoseconds ?? 0
        request.maxUsedSpace = maxUsedSpace?.bytes ?? 0
        request.reservedSpace = reservedSpace?.bytes ?? 0
        request.minFreeSpace = minFreeSpace?.bytes ?? 0
        try await node.withNode { [request] connection in
            try await connection.prune(request) { record in
                Terminal.printResult("\(record.id)   \(TextTable.bytes(record.size))")
            }
        }
    }
}

/// Bytes as users write them: `512MB`, `10GiB`, `1024`.
struct SizeArgument: ExpressibleByArgument, Hashable {
    let bytes: Int64

    private static let units: [(suffix: String, factor: Double)] = [
        ("kib", 1_024), ("mib", 1_048_576), ("gib", 1_073_741_824), ("tib", 1_099_511_627_776), ("kb", 1e3),
        ("mb", 1e6), ("gb", 1e9), ("tb", 1e12), ("k", 1_024), ("m", 1_048_576), ("g", 1_073_741_824), ("b", 1),
    ]

    init?(argument: String) {
        let text = argument.lowercased()
        let unit = Self.units.first { text.hasSuffix($0.suffix) }
        let number = Double(text.dropLast(unit?.suffix.count ?? 0)) ?? -1
        let value = number * (unit?.factor ?? 1)
        guard value >= 0, value < 9e18 else { return nil }
        bytes = Int64(value)
    }
}

/// A span of time as Go writes it: `90s`, `48h`, `1h30m`.
struct DurationArgument: ExpressibleByArgument, Hashable {
    let nanoseconds: Int64

    private static let units: [(suffix: String, seconds: Double)] = [
        ("ms", 0.001), ("h", 3_600), ("m", 60), ("s", 1),
    ]

    init?(argument: String) {
        var rest = argument[...]
        var seconds = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isNumber || $0 == "." }
            rest = rest.dropFirst(digits.count)
            guard let number = Double(digits), let unit = Self.units.first(where: { rest.hasPrefix($0.suffix) }) else {
                return nil
            }
            seconds += number * unit.seconds
            rest = rest.dropFirst(unit.suffix.count)
        }
        guard seconds < 9e9 else { return nil }
        nanoseconds = Int64(seconds * 1e9)
    }
}
