internal import BuildKitProtocol
internal import FileSync
internal import Foundation
internal import Glibc
internal import Testing

@Suite struct HostileSenderTests {
    private static let directory = GoFileMode.directory | 0o755
    private static let symlink = GoFileMode.symlink | 0o777

    private static let sequences: [[Fsutil_Types_Packet]] = [
        [.entry("../evil")], [.entry("/evil")], [.entry("a/../../evil")], [.entry("")], [.entry("a//b")],
        [.entry("./a")], [.entry("a/")], [.entry("nul\u{0}byte")], [.entry(String(repeating: "n", count: 256))],
        [.entry("b"), .entry("a")],
        [.entry("a"), .entry("a")],
        [.entry("missing/child")],
        [.entry("file"), .entry("file/child")],
        [.entry("link", mode: symlink, link: "/tmp"), .entry("link/child")],
        [.entry("d", mode: directory), .entry("d-x", mode: directory), .entry("d/late")],
        [.entry("hard", link: "../outside"), Fsutil_Types_Packet()],
        [.entry("hard", link: "later"), .entry("later"), Fsutil_Types_Packet(), .of(.packetData, id: 1)],
        [.entry("d", mode: directory), .entry("hard", link: "d"), Fsutil_Types_Packet()],
        [.entry("l", mode: symlink, link: "/etc/passwd"), .entry("m", link: "l"), Fsutil_Types_Packet()],
        [.entry("odd", mode: GoFileMode.irregular)], [.entry("s", mode: GoFileMode.socket)],
        [.entry("negative", size: -1)], [.entry("empty", mode: symlink, link: "")],
        [.of(.packetData, id: 0, "unasked")], [.entry("a"), .of(.packetData, id: 7, "unasked")],
        [.entry("a"), .of(.packetData), .of(.packetData, id: 0, "after the end")],
        [Fsutil_Types_Packet(), .entry("late")], [.entry("a"), .of(.packetReq, id: 0)],
        [.entry("a"), .of(.packetFin)], [.entry("a"), Fsutil_Types_Packet(), Fsutil_Types_Packet()],
    ]

    @Test(arguments: sequences.indices) func `a sender that breaks the rules is told so and nothing escapes`(
        index: Int
    ) async throws {
        let outer = try TestTree()
        try outer.directory("root")
        try outer.file("outside", "untouched")
        let (forward, backward) = (PacketWire(), PacketWire())
        for packet in Self.sequences[index] { forward.send(packet) }
        forward.end()
        await #expect(throws: FileSyncError.self) {
            _ = try await DirectoryReceiver(root: outer.path + "/root").run(packets: forward.packets) {
                backward.send($0)
            }
        }
        #expect(backward.count(of: .packetErr) == 1)
        #expect(outer.text("outside") == "untouched")
        #expect(try FileManager.default.contentsOfDirectory(atPath: outer.path).sorted() == ["outside", "root"])
        let left = try FileManager.default.contentsOfDirectory(atPath: outer.path + "/root")
        #expect(!left.contains { $0.hasPrefix(".peerbuild-") })
    }

    @Test func `a sender that goes away leaves no half file`() async throws {
        let (target, forward) = (try TestTree(), PacketWire())
        for packet: Fsutil_Types_Packet in [.entry("a", size: 10), .of(.packetData, id: 0, "half")] {
            forward.send(packet)
        }
        forward.end()
        await #expect(throws: FileSyncError.endedEarly) {
            _ = try await DirectoryReceiver(root: target.path).run(packets: forward.packets) { _ in }
        }
        #expect(try target.listing() == [])
    }

    @Test func `an existing link in the target is replaced, not followed`() async throws {
        let (outside, target) = (try TestTree(), try TestTree())
        try outside.file("victim", "untouched")
        target.symlink("d", to: outside.path)
        target.symlink("f", to: outside.path + "/victim")
        let (forward, backward) = (PacketWire(), PacketWire())
        for packet: Fsutil_Types_Packet in [
            .entry("d", mode: Self.directory), .entry("d/victim"), .entry("f"), Fsutil_Types_Packet(),
            .of(.packetData, id: 1, "new"), .of(.packetData, id: 1), .of(.packetData, id: 2, "new"),
            .of(.packetData, id: 2), .of(.packetFin),
        ] { forward.send(packet) }
        forward.end()
        _ = try await DirectoryReceiver(root: target.path).run(packets: forward.packets) { backward.send($0) }
        #expect(outside.text("victim") == "untouched")
        #expect(target.text("d/victim") == "new")
        #expect(target.stat("f").map { $0.st_mode & S_IFMT } == S_IFREG)
    }

    @Test func `overlayfs attributes of a sender are not taken over`() async throws {
        let (target, forward) = (try TestTree(), PacketWire())
        var entry = Fsutil_Types_Packet.entry("d", mode: Self.directory)
        entry.stat.xattrs = ["trusted.overlay.opaque": Data("y".utf8)]
        for packet in [entry, Fsutil_Types_Packet(), .of(.packetFin)] { forward.send(packet) }
        forward.end()
        _ = try await DirectoryReceiver(root: target.path).run(packets: forward.packets) { _ in }
        let copy = try TestTree()
        let back = try await Exchange.run(
            DirectorySender(root: target.path), DirectoryReceiver(root: copy.path))
        withExtendedLifetime((copy, target)) {}
        #expect(back.listed == ["d"])
        #expect(back.forward.sent.allSatisfy { $0.stat.xattrs.isEmpty })
    }

    @Test func `a receiver that asks for what it may not have is refused`() async throws {
        let source = try TestTree()
        try source.directory("d")
        try source.file("f", "once")
        for requests: [UInt32] in [[0], [9], [1, 1]] {
            let (forward, backward) = (PacketWire(), PacketWire())
            for id in requests { backward.send(.of(.packetReq, id: id)) }
            await #expect(throws: FileSyncError.self) {
                // Requests stand in the queue before the list, so those of id 1 are too early as well.
                try await DirectorySender(root: source.path).run(packets: backward.packets) { forward.send($0) }
            }
            backward.end()
        }
    }
}
