internal import ClusterModel
internal import ContentStore
internal import Glibc
internal import OCI
internal import Testing
internal import Transfer

@testable internal import Snapshots

@Suite struct StoreTests {
    @Test func `what a crash leaves is removed at the next start`() async throws {
        let root = TestStore.freshDirectory()
        defer { removeTree(root) }
        // A process of its own, killed with a tree mounted and half a layer staged.
        await #expect(processExitsWith: .signal(SIGKILL)) { [root = root as String] in
            let store = try SnapshotStore(root: root)
            let work = try store.prepare(over: .scratch)
            mkdir(work.path + "/kept", 0o755)
            let base = try store.commit(work)
            _ = try store.prepare(over: LayerChain(base.map { [$0] } ?? []))
            _ = try store.makeStaging()
            kill(getpid(), SIGKILL)
        }
        #expect(try SnapshotStore.mounts(below: root).count == 1)
        mkdir(root + "/layers/half", 0o755)
        let store = try SnapshotStore(root: root)
        #expect(try SnapshotStore.mounts(below: root).isEmpty)
        #expect(
            output("ls \(root)/work \(root)/staging \(root)/trash | grep '^[0-9]'; ls \(root)/layers | wc -l") == "1\n")
        let kept = try store.list()
        #expect(try store.manifest(of: kept[0]).entries.map(\.displayPath) == ["/kept"])
    }

    @Test func `an unchanged directory is imported without reading a file`() throws {
        let store = try TestStore()
        let context = store.root + "/context"
        shell(
            "mkdir -p \(context)/sub; cd \(context); for i in 1 2 3 4 5; do echo $i > f$i; done; echo x > sub/y; ln -s f1 l"
        )
        let first = try store.snapshots.importDirectory(context)
        #expect(first.filesRead == 6)
        let again = try store.snapshots.importDirectory(context, previous: first.digests)
        #expect(again.filesRead == 0 && again.layer == first.layer)
        shell("cd \(context); echo new > t; mv t f2")
        let changed = try store.snapshots.importDirectory(context, previous: again.digests)
        #expect(changed.filesRead == 1 && changed.layer.id != first.layer.id)
        // The layer is the old file still: it is the inode, not the name.
        #expect(output("cat \(store.snapshots.contentPath(of: first.layer.id))/f2") == "2\n")
        #expect(output("cat \(store.snapshots.contentPath(of: changed.layer.id))/f2") == "new\n")
        let some = try store.snapshots.importDirectory(context, including: { path, _ in path != Array("sub".utf8) })
        #expect(try store.snapshots.manifest(of: some.layer.id).entries.count == 6)
        #expect(throws: SnapshotError.self) { try store.snapshots.importDirectory(context + "/none") }
    }

    @Test func `one of two pulls at once does the work`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try holder.layer("head -c 3000000 /dev/urandom > big; echo 1 > small; cp big copy")
        let layer = chain.layers[0]
        let bytes = try await withThrowingTaskGroup(of: Int64.self) { group in
            for _ in 0..<4 {
                group.addTask { try await transfer(layer.id, from: holder.snapshots, to: puller.snapshots).bytes }
            }
            return try await group.reduce(0, +)
        }
        // And equal files travel once.
        #expect(bytes == 3_000_002)
        expectSame(try puller.dump(chain), try holder.dump(chain))
    }

    @Test(arguments: UInt64(0)..<40)
    func `a holder that lies or dies gives no layer`(seed: UInt64) async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let layer = try holder.layer("head -c 600000 /dev/urandom > big; echo 1 > small").layers[0]
        await #expect(throws: PullFailure.self) {
            _ = try await transfer(layer.id, from: holder.snapshots, to: puller.snapshots) { message in
                var random = SplitMix64(seed: seed &+ UInt64(message.count) << 32)
                var message = message
                if seed.isMultiple(of: 4) {
                    // One of the later messages is the last.
                    return message.count > 100_000 || message.count < 4 ? nil : message
                }
                message[Int.random(in: 0..<message.count, using: &random)] ^=
                    1 << UInt8.random(in: 0..<8, using: &random)
                return message
            }
        }
        #expect(!puller.snapshots.contains(layer.id))
        #expect(output("ls \(puller.root)/store/staging") == "")
        // And the next attempt works.
        _ = try await transfer(layer.id, from: holder.snapshots, to: puller.snapshots)
        #expect(puller.snapshots.contains(layer.id))
    }

    @Test func `a holder without the layer says so`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        await #expect(throws: PullFailure.self) {
            _ = try await transfer(Digest.of([1]), from: holder.snapshots, to: puller.snapshots)
        }
    }

    @Test func `blobs are pulled by digest`() async throws {
        let directory = TestStore.freshDirectory()
        defer { removeTree(directory) }
        let holder = try ContentStore(root: directory + "/a")
        let puller = try ContentStore(root: directory + "/b")
        for content in [[], [1, 2, 3], [UInt8](repeating: 7, count: 1_000_000)] {
            let digest = try holder.put(content)
            let (near, far) = MemoryStream.pair()
            async let served: Void = holder.serveBlob(digest, on: far)
            try await puller.pullBlob(digest, from: near)
            try await served
            #expect(try puller.read(digest) == content)
        }
        let (near, far) = MemoryStream.pair { $0.map { $0 ^ 1 } }
        let digest = try holder.put([9, 9])
        async let served: Void? = try? holder.serveBlob(digest, on: far)
        await #expect(throws: TransferError.self) { try await puller.pullBlob(digest, from: near) }
        _ = await served
        #expect(!puller.contains(digest))
    }

    @Test func `a full disk is said and leaves nothing half-written`() async throws {
        let (holder, directory) = (try TestStore(), TestStore.freshDirectory())
        defer { removeTree(directory) }
        let chain = try holder.layer("head -c 6000000 /dev/urandom > big")
        let archive = try holder.exported(chain.layers[0].id)
        shell("mount -t tmpfs -o size=4m tmpfs \(directory)")
        defer { shell("umount \(directory)") }
        let full = try SnapshotStore(root: directory + "/store")
        for attempt in 0..<2 {
            do {
                if attempt == 0 {
                    _ = try await full.importLayer(tar: Bytes(archive))
                } else {
                    _ = try await transfer(chain.layers[0].id, from: holder.snapshots, to: full)
                }
                Issue.record("it fitted")
            } catch {
                #expect("\(error)".contains("no space left"))
            }
        }
        #expect(try full.list().isEmpty)
        #expect(output("find \(directory)/store/staging \(directory)/store/pulls -mindepth 1") == "")
    }
}
