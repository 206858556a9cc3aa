internal import BuildKitProtocol
internal import FileSync
internal import Foundation
internal import Glibc
internal import Testing

@Suite struct DirectorySyncTests {
    /// A tree with every kind of entry and names that sort differently as text and by component.
    private static func torture() throws -> TestTree {
        let tree = try TestTree()
        try tree.directory("a")
        try tree.file("a/b", "below a")
        try tree.file("a-b", "minus sorts before slash as text")
        try tree.file("a.txt", "")
        try tree.directory("deep/er/est", mode: 0o711)
        try tree.file("deep/er/est/file", String(repeating: "x", count: 100_000), mode: 0o4755)
        tree.hardLink("deep/er/linked", to: "deep/er/est/file")
        try tree.directory("empty", mode: 0o1777)
        tree.symlink("link", to: "a/b")
        tree.symlink("dangling", to: "/nowhere/at/all")
        try tree.file("ünïcode 名", "names")
        try tree.file("exact", String(repeating: "y", count: DirectorySender.chunkBytes))
        mkfifo(tree.path + "/fifo", 0o600)
        mknod(tree.path + "/null", S_IFCHR | 0o666, 0x103)
        chown(tree.path + "/a-b", 12, 34)
        for (index, name) in ["a/b", "a-b", "link", "a", "deep/er"].enumerated() {
            var times = [timespec(tv_sec: 0, tv_nsec: 0), timespec(tv_sec: 1_000_000 + index, tv_nsec: 123_456_789)]
            utimensat(AT_FDCWD, "\(tree.path)/\(name)", &times, AT_SYMLINK_NOFOLLOW)
        }
        return tree
    }

    @Test func `a torture tree arrives equal, and a second sync asks for nothing`() async throws {
        let (source, target) = (try Self.torture(), try TestTree())
        let sender = DirectorySender(root: source.path)
        let first = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        #expect(try target.listing() == source.listing())
        #expect(first.outcome.bytes > 100_000)
        let order = first.listed.filter { $0.hasPrefix("a") }
        #expect(order == ["a", "a/b", "a-b", "a.txt"])

        let second = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        #expect(second.backward.count(of: .packetReq) == 0)
        #expect(second.outcome.entries == 0)
        #expect(second.outcome.bytes == 0)
        #expect(try target.listing() == source.listing())
    }

    @Test func `a changed tree is followed: what is gone goes, what changed comes`() async throws {
        let (source, target) = (try Self.torture(), try TestTree())
        let sender = DirectorySender(root: source.path)
        _ = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        try FileManager.default.removeItem(atPath: source.path + "/deep")
        try source.file("deep", "a file where a directory was")
        try FileManager.default.removeItem(atPath: source.path + "/a-b")
        try source.directory("a-b")
        try source.file("a/b", "changed")
        unlink(source.path + "/link")
        source.symlink("link", to: "elsewhere")
        let exchange = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        #expect(try target.listing() == source.listing())
        #expect(exchange.backward.count(of: .packetReq) == 2)
    }

    @Test func `a file with several names keeps its old content under the others`() async throws {
        let (source, target) = (try TestTree(), try TestTree())
        try source.file("file", "one")
        let sender = DirectorySender(root: source.path)
        _ = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        let clone = try TestTree()
        link(target.path + "/file", clone.path + "/file")
        try source.file("file", "other")
        _ = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        #expect(target.text("file") == "other")
        #expect(clone.text("file") == "one")
    }

    @Test func `two names of one file become two files when the sender has two`() async throws {
        let (source, target) = (try TestTree(), try TestTree())
        try source.file("one", "same")
        try source.file("two", "same")
        let sender = DirectorySender(root: source.path)
        _ = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        unlink(target.path + "/two")
        target.hardLink("two", to: "one")
        _ = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        #expect(target.stat("one")?.st_ino != target.stat("two")?.st_ino)
    }

    @Test func `merging keeps what was there and takes the owner it is told`() async throws {
        let (source, target) = (try Self.torture(), try TestTree())
        try target.file("mine", "kept")
        try target.directory("a")
        try target.file("a/mine", "kept too")
        target.symlink("empty", to: "/etc")
        _ = try await Exchange.run(
            DirectorySender(root: source.path),
            DirectoryReceiver(root: target.path, merging: true, ownership: .fixed(uid: 77, gid: 78)))
        #expect(target.text("mine") == "kept")
        #expect(target.text("a/mine") == "kept too")
        #expect(target.text("a/b") == "below a")
        #expect(target.stat("a/b")?.st_uid == 77)
        #expect(target.stat("empty").map { $0.st_mode & S_IFMT } == S_IFDIR)
    }

    @Test func `patterns choose entries, parents come along, and the owner is reset`() async throws {
        let (source, target) = (try Self.torture(), try TestTree())
        let sender = DirectorySender(
            root: source.path, include: ["deep/er/est", "a*"], exclude: ["a-b", "deep/er/est/*", "!deep/er/est/file"],
            resetsOwner: true)
        let exchange = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        #expect(exchange.listed == ["a", "a/b", "a.txt", "deep", "deep/er", "deep/er/est", "deep/er/est/file"])
        #expect(exchange.forward.sent.allSatisfy { $0.stat.uid == 0 })
    }

    @Test func `followed paths bring the links on the way and their targets`() async throws {
        let (source, target) = (try TestTree(), try TestTree())
        try source.directory("real/dir")
        try source.file("real/dir/file", "found")
        source.symlink("way", to: "real")
        source.symlink("real/alias", to: "/real/dir")
        source.symlink("up", to: "../../../etc/passwd")
        try source.file("other", "not asked for")
        let sender = DirectorySender(root: source.path, followPaths: ["way/alias/file", "up", "missing"])
        let exchange = try await Exchange.run(sender, DirectoryReceiver(root: target.path))
        #expect(exchange.listed == ["real", "real/alias", "real/dir", "real/dir/file", "up", "way"])
        #expect(target.text("way/alias/file") == nil || target.text("real/dir/file") == "found")
    }

    @Test func `go modes and kernel modes are each other's inverse`() {
        for type in [S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK] {
            for bits: UInt32 in [0o644, 0o755, 0o4755, 0o2711, 0o1777, 0] {
                #expect(GoFileMode.toStat(GoFileMode.fromStat(type | bits)) == type | bits)
            }
        }
        #expect(GoFileMode.fromStat(S_IFDIR | 0o755) == 2_147_484_141)
        #expect(GoFileMode.fromStat(S_IFLNK | 0o777) == 134_218_239)
    }
}
