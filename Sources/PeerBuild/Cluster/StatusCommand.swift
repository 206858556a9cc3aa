internal import ArgumentParser
internal import BuildClient
internal import BuildKitProtocol
internal import Foundation

/// `peerbuild status`.
struct StatusCommand: AsyncParsableCommand {
    private static let watchSeconds = 1

    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows the cluster's members and running builds.")

    enum Format: String, ExpressibleByArgument, CaseIterable { case table, json }

    @OptionGroup var node: NodeOptions
    @Flag(help: "Repeats every second until interrupted.") var watch = false
    @Option(help: "table or json.") var format = Format.table

    func run() async throws {
        let (format, watch) = (format, watch)
        try await node.withNode { connection in
            repeat {
                let report = StatusReport(try await connection.clusterStatus())
                switch format {
                case .json: Terminal.printResult(try report.json())
                case .table: Terminal.printResult((watch ? "\u{1B}[H\u{1B}[2J" : "") + report.table())
                }
                if watch { try await Task.sleep(for: .seconds(Self.watchSeconds)) }
            } while watch
        }
    }
}

/// What `status --format json` prints; field names are a contract that scripts rely on.
struct StatusReport: Codable, Hashable {
    var members: [Member]
    var builds: [Build]
    var counters = Counters()
    var gossip = GossipStatus()
    var links: [Link] = []

    struct Member: Codable, Hashable {
        var name: String
        var address: String
        var state: String
        var incarnation: UInt64
        var slots: UInt32
        var running: UInt32
        var queued: UInt32
        var labels: [String: String]
        var platforms: [String]
        var cacheKeys: UInt64
        var cacheBytes: UInt64
        var version: String
        /// Seconds since the member wrote the load that is shown; negative before the first.
        var loadAgeSeconds = -1.0
        var alternatives: [String] = []
        /// What is wrong with it beside its state, such as `stalled`, `udp-blocked` or `disk-low`.
        var conditions: [String] = []
        /// Share of its processors' time that is used, 0 to 1.
        var cpuBusy = 0.0
        /// Bytes of memory that processes there could still get; 0 when not known.
        var memoryFree: UInt64 = 0
        /// Bytes that its root directory's file system still takes; 0 when not known.
        var diskFree: UInt64 = 0
    }

    /// A cluster key without its secret.
    struct Key: Codable, Hashable {
        var fingerprint: String
        /// `seals`, `opens` or `retired`.
        var state: String
        var generation: UInt64
        /// RFC 3339; empty unless retired.
        var retiredUntil: String

        init(_ key: Peerbuild_V1_Key) {
            fingerprint = key.fingerprint
            state = key.state
            generation = key.generation
            retiredUntil = key.retiredUntil
        }
    }

    struct Build: Codable, Hashable {
        var ref: String
        var home: String
        var vertices: UInt32
        var completed: UInt32
        var cached: UInt32
        var running: UInt32
        /// RFC 3339.
        var started: String
    }

    /// Of the answering node, since it started.
    struct Counters: Codable, Hashable {
        var verticesExecuted: UInt64 = 0
        var layerBytesPulled: UInt64 = 0
        var layerBytesServed: UInt64 = 0
        var layerBytesDeduplicated: UInt64 = 0
        var layerBytesResumed: UInt64 = 0
        var layerBytesLeftOut: UInt64 = 0
        var layerBytesPrefetched: UInt64 = 0
        var registryBytesPulled: UInt64 = 0
        var bloomHits: UInt64 = 0
        var bloomHitsDenied: UInt64 = 0
        /// Of the links to peers, by level.
        var links: [String: GossipStatus.Node] = [:]
    }

    /// A link to a peer, since it was made.
    struct Link: Codable, Hashable {
        var peer: String
        var address: String
        var dialed: Bool
        var cipher: String
        var ageSeconds: Double
        var openStreams: UInt32
        /// Of sealed records.
        var bytesOut: UInt64
        var bytesIn: UInt64
    }

    init(members: [Member], builds: [Build]) {
        self.members = members
        self.builds = builds
    }

    init(_ response: Peerbuild_V1_StatusResponse) {
        members = response.members.map {
            Member(
                name: $0.name, address: $0.address, state: $0.state, incarnation: $0.incarnation, slots: $0.slots,
                running: $0.running, queued: $0.queued, labels: $0.labels, platforms: $0.platforms,
                cacheKeys: $0.cacheKeys, cacheBytes: $0.cacheBytes, version: $0.version,
                loadAgeSeconds: ($0.loadAgeSeconds * 1_000).rounded() / 1_000, alternatives: $0.alternatives,
                conditions: $0.conditions, cpuBusy: ($0.cpuBusy * 1_000).rounded() / 1_000,
                memoryFree: $0.memoryFree, diskFree: $0.diskFree)
        }
        builds = response.builds.map {
            Build(
                ref: $0.ref, home: $0.home, vertices: $0.vertices, completed: $0.completed, cached: $0.cached,
                running: $0.running, started: $0.started)
        }
        counters = Counters(response.counters)
        gossip = GossipStatus(response.gossip)
        links = response.links.map {
            Link(
                peer: $0.peer, address: $0.address, dialed: $0.dialed, cipher: $0.cipher,
                ageSeconds: ($0.ageSeconds * 1_000).rounded() / 1_000, openStreams: $0.openStreams,
                bytesOut: $0.bytesOut, bytesIn: $0.bytesIn)
        }
    }

    /// One line.
    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    func table() -> String {
        var text = TextTable.format(Member.header, members.map(\.cells))
        if let moved = counters.moved { text += "\n\n" + moved }
        for warning in gossip.warnings { text += "\n\nwarning: \(warning)" }
        guard !builds.isEmpty else { return text }
        let buildRows = builds.map { build in
            [
                build.ref, build.home, "\(build.completed)/\(build.vertices)", "\(build.cached)", "\(build.running)",
                build.started,
            ]
        }
        text += "\n\n" + TextTable.format(["BUILD", "HOME", "DONE", "CACHED", "RUNNING", "STARTED"], buildRows)
        return text
    }
}

extension StatusReport.Member {
    /// Of the columns that `cells` fills.
    static let header = [
        "NAME", "ADDRESS", "STATE", "AGE", "RUNNING", "QUEUED", "CPU", "MEMORY FREE", "DISK FREE", "KEYS", "CACHE",
        "PLATFORMS", "LABELS",
    ]

    /// A line of the table, `-` where nothing is known.
    var cells: [String] {
        let hasLoad = loadAgeSeconds >= 0
        var row = [name, address, ([state] + conditions).joined(separator: ",")]
        row.append(hasLoad ? String(format: "%.1fs", loadAgeSeconds) : "-")
        row += ["\(running)/\(slots)", "\(queued)"]
        row.append(hasLoad ? "\(Int((cpuBusy * 100).rounded()))%" : "-")
        row += [memoryFree, diskFree].map { $0 > 0 ? TextTable.bytes(Int64(clamping: $0)) : "-" }
        row += ["\(cacheKeys)", TextTable.bytes(Int64(clamping: cacheBytes))]
        row.append(platforms.joined(separator: ","))
        row.append(labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ","))
        return row
    }
}

extension StatusReport.Counters {
    init(_ message: Peerbuild_V1_Counters) {
        verticesExecuted = message.verticesExecuted
        layerBytesPulled = message.layerBytesPulled
        layerBytesServed = message.layerBytesServed
        layerBytesDeduplicated = message.layerBytesDeduplicated
        layerBytesResumed = message.layerBytesResumed
        layerBytesLeftOut = message.layerBytesLeftOut
        layerBytesPrefetched = message.layerBytesPrefetched
        registryBytesPulled = message.registryBytesPulled
        bloomHits = message.bloomHits
        bloomHitsDenied = message.bloomHitsDenied
        for (name, count) in message.links {
            GossipStatus.put(count, at: name.split(separator: ".")[...], into: &links)
        }
    }

    /// What the answering node has moved and what it did not have to, in a line; nil before anything has.
    var moved: String? {
        let parts = [
            ("pulled", layerBytesPulled), ("served", layerBytesServed), ("from registries", registryBytesPulled),
            ("saved by sharing", layerBytesDeduplicated), ("by resuming", layerBytesResumed),
            ("by leaving out", layerBytesLeftOut),
        ]
        guard parts.contains(where: { $0.1 > 0 }) else { return nil }
        return "moved: " + parts.map { "\($0.0) \(TextTable.bytes(Int64(clamping: $0.1)))" }.joined(separator: ", ")
    }
}
