import BuildKitProtocol
import GRPCCore
import PeerRuntime
import SwiftProtobuf
import Testing

@testable import BuildKitAPI

struct UsageTests {
    private static func usage(
        _ id: String, kind: String = "regular", size: Int64 = 10, lastUsed: Int64 = 0, inUse: Bool = false
    ) -> CacheUsage {
        var usage = CacheUsage(id: id, kind: kind, size: size, created: 0)
        usage.lastUsed = lastUsed
        usage.isInUse = inUse
        usage.text = "pulled \(id)"
        return usage
    }

    @Test(arguments: [
        ([], true), ([""], true), (["id==a"], true), (["id==b"], false), (["id!=b"], true), (["id~=^a$"], true),
        (["type==regular,id==a"], true), (["type==regular,id==b"], false), (["id==b", "id==a"], true),
        (["description==\"pulled a\""], true), (["inuse"], false), (["immutable"], true), (["private"], true),
        (["unknown==x"], false),
    ])
    func `containerd filters match as documented`(expressions: [String], matches: Bool) throws {
        #expect(try UsageFilter.parse(expressions).matches(Self.usage("a")) == matches)
    }

    @Test(arguments: ["=a", "id=a", "id==\"a", "id==a,,", "id~=(", "id<3"])
    func `a filter that is none is an invalid argument`(expression: String) {
        let error = #expect(throws: RPCError.self) { try UsageFilter.parse([expression]) }
        #expect(error?.code == .invalidArgument)
    }

    @Test func `prune takes the longest unused first, spares what is in use, and stops at its target`() throws {
        let report = DiskUsageReport(
            records: [
                Self.usage("new", lastUsed: 30), Self.usage("old", lastUsed: 10),
                Self.usage("busy", lastUsed: 0, inUse: true), Self.usage("mine", kind: "internal", lastUsed: 5),
            ], freeBytes: 100)
        func select(_ change: (inout Moby_Buildkit_V1_PruneRequest) -> Void) throws -> [String] {
            var request = Moby_Buildkit_V1_PruneRequest()
            change(&request)
            let filters = try UsageFilter.parse(request.filter)
            return UsageSelection(request, filters: filters).select(from: report, now: 40)
        }
        #expect(try select { _ in } == ["old", "new"])
        #expect(try select { $0.all = true } == ["mine", "old", "new"])
        #expect(try select { $0.keepDuration = 20 } == ["old"])
        #expect(try select { $0.reservedSpace = 30 } == ["old"])
        #expect(try select { $0.maxUsedSpace = 20 } == ["old", "new"])
        #expect(try select { $0.minFreeSpace = 105 } == ["old"])
        #expect(try select { $0.minFreeSpace = 90 } == [])
        #expect(try select { $0.filter = ["id==new"] } == ["new"])
    }

    @Test func `du and prune answer from the backend`() async throws {
        let backend = RecordingBackend(usage: [Self.usage("a"), Self.usage("b", inUse: true)])
        try await Harness.run(backend) { harness in
            let used = try await harness.control.diskUsage(.with { $0.filter = [""] })
            #expect(used.record.map(\.id) == ["a", "b"])
            #expect(used.record.map(\.hasCreatedAt) == [true, true])
            let pruned = try await harness.control.prune(.init()) { response in
                var ids: [String] = []
                for try await record in response.messages { ids.append(record.id) }
                return ids
            }
            #expect(pruned == ["a"])
            #expect(try await harness.control.diskUsage(.init()).record.map(\.id) == ["b"])
        }
    }
}
