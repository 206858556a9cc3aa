internal import Foundation
internal import Testing

/// What `status` says of other nodes' machines.
extension EndToEnd {
    @Suite struct Load {
        @Test func `each node's status says how busy the other's machine is, its memory, its disk, and how long ago`()
            async throws
        {
            try await withWorkspace { workspace in
                let cluster = try await TestCluster.start(
                    ["a", "b"], in: workspace, more: ["--packet-limit", "512"])
                let memory = Int(ProcessInfo.processInfo.physicalMemory)
                for (name, other) in [("a", "b"), ("b", "a")] {
                    let node = try cluster[name]
                    try await eventually("a load of \(other) is known", state: { node.log }) {
                        guard let member = try await node.status().members.first(where: { $0.name == other }) else {
                            return false
                        }
                        return (0...1).contains(member.cpuBusy) && (1...memory).contains(member.memoryFree)
                            && member.diskFree > 0 && member.loadAgeSeconds >= 0
                    }
                    let table = try await node.command(["status"])
                    #expect(table.output.contains("MEMORY FREE") && table.output.contains("DISK FREE"))
                }
            }
        }
    }
}
