internal import ArgumentParser
internal import BuildClient
internal import BuildKitProtocol
internal import Foundation

/// `peerbuild explain`.
struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Tells where each step of a build ran and why.")

    @OptionGroup var node: NodeOptions
    @Option(help: "table or json.") var format = StatusCommand.Format.table
    @Argument(help: "Reference of the build; without it the node's last one.") var build: String?

    func run() async throws {
        let (format, build) = (format, build)
        let response = try await node.withNode { try await $0.explain(build) }
        switch format {
        case .json: Terminal.printResult(try response.jsonText())
        case .table: Terminal.printResult(Self.table(response))
        }
    }

    static func table(_ response: Peerbuild_V1_ExplainResponse) -> String {
        let rows = response.vertices.map { vertex in
            [
                vertex.node, vertex.outcome, String(format: "%.1fs", vertex.seconds),
                TextTable.bytes(Int64(clamping: vertex.bytesPulled)), "\(vertex.attempts)", vertex.name,
                vertex.candidates.sorted { $0.scoreSeconds < $1.scoreSeconds }.map(candidate).joined(separator: " "),
            ]
        }
        let executed = response.vertices.filter { $0.outcome == "executed" }
        let attempts = executed.reduce(0) { $0 + Int($1.attempts) }
        let amplification = executed.isEmpty ? 1 : Double(attempts) / Double(executed.count)
        let kinds = [
            ("shared", response.bytesDeduplicated), ("resumed", response.bytesResumed),
            ("left out", response.bytesLeftOut),
        ].map { "\($0.0) \(TextTable.bytes(Int64(clamping: $0.1)))" }.joined(separator: ", ")
        let saved = Int64(clamping: response.bytesDeduplicated &+ response.bytesResumed &+ response.bytesLeftOut)
        let served = response.bytesServed.sorted { $0.key < $1.key }
            .map { "\($0.key) \(TextTable.bytes(Int64(clamping: $0.value)))" }.joined(separator: ", ")
        return """
            build \(response.ref), home \(response.home)
            executed \(response.executed), cached \(response.cached), \
            moved \(TextTable.bytes(Int64(clamping: response.bytesPulled)))\
            \(served.isEmpty ? "" : " (served by \(served))"), \
            early \(TextTable.bytes(Int64(clamping: response.bytesPrefetched))), \
            saved \(TextTable.bytes(saved)) (\(kinds)), \
            registries \(TextTable.bytes(Int64(clamping: response.registryBytes))), \
            amplification \(String(format: "%.2f", amplification))

            """
                + TextTable.format(["NODE", "OUTCOME", "TIME", "PULLED", "ATTEMPTS", "STEP", "CANDIDATES"], rows)
    }

    /// Such as `a:0.3s(queue 0.2s, pull 1.2MB)`.
    private static func candidate(_ candidate: Peerbuild_V1_Candidate) -> String {
        let score = String(format: "%.1f", candidate.scoreSeconds)
        let queue = String(format: "%.1f", candidate.queueDelaySeconds)
        return
            "\(candidate.node):\(score)s(queue \(queue)s, pull \(TextTable.bytes(Int64(clamping: candidate.bytesToPull))))"
    }
}
