internal import ArgumentParser
internal import Testing

@testable internal import PeerBuild

/// The packet limit from all its origins, and what `status` shows of members' machines.
struct NodeLimitsTests {
    @Test func `the packet limit comes from flag, environment and file, and is the default's without`() throws {
        let flag = try NodeCommand.parse(["--name", "n", "--packet-limit", "512"])
        let bare = try NodeCommand.parse(["--name", "n"])
        #expect(try flag.resolved(environment: ["PEERBUILD_PACKET_LIMIT": "1400"]).packetLimit == 512)
        #expect(try bare.resolved(environment: ["PEERBUILD_PACKET_LIMIT": "1400"]).packetLimit == 1_400)
        let file = try ConfigurationFile.settings(in: "[cluster]\npacket-limit = 8900\n", path: "f")
        #expect(try file.configuration(hostName: "n").packetLimit == 8_900)
        #expect(try bare.resolved(environment: [:]).packetLimit == nil)
    }

    @Test(arguments: ["511", "8901", "many", "-1"])
    func `a packet limit out of range is named with the range`(text: String) throws {
        let command = try NodeCommand.parse(["--name", "n", "--packet-limit=\(text)"])
        let error = #expect(throws: NodeConfigurationError.self) { _ = try command.resolved(environment: [:]) }
        #expect(error?.faults == ["--packet-limit: \"\(text)\" must be a size from 512 to 8900 bytes"])
    }

    @Test func `the table shows what is known of a member's machine, and how old it is`() {
        var member = StatusReport.Member(
            name: "n", address: "a:1", state: "alive", incarnation: 1, slots: 2, running: 1, queued: 0,
            labels: [:], platforms: [], cacheKeys: 3, cacheBytes: 4, version: "1")
        #expect(Array(member.cells[3...8]) == ["-", "1/2", "0", "-", "-", "-"])
        member.loadAgeSeconds = 1.25
        member.cpuBusy = 0.256
        member.memoryFree = 3_000_000_000
        member.diskFree = 70_000_000
        #expect(Array(member.cells[4...8]) == ["1/2", "0", "26%", "3.0GB", "70.0MB"])
        #expect(member.cells[3].hasSuffix("s"))
        #expect(StatusReport.Member.header.count == member.cells.count)
        #expect(StatusReport(members: [member], builds: []).table().contains("MEMORY FREE"))
    }
}
