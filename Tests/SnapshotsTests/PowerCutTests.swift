internal import ClusterModel
internal import ContentStore
internal import Glibc
internal import OCI
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Whatever the moment of a power cut, no name stands for content that is not on the disk, and what somebody was told is
/// stored stays stored.
@Suite struct PowerCutTests {
    private static let few = "mkdir d; echo 1 > d/a; ln d/a d/b; ln -s a d/l; head -c 300000 /dev/urandom > big"
    /// More than are synced one by one.
    private static let many = "mkdir d; for i in $(seq 40); do echo $i > d/f$i; done"

    @Test(arguments: [few, many])
    func `a committed layer is on the disk before it has a name, and its name before anybody hears of it`(
        script: String
    ) throws {
        let journal = DiskJournal()
        let store = try TestStore(disk: journal.calls)
        let chain = try store.layer(script)
        let next = try store.layer(over: chain, "rm -r d; echo 2 > other")
        #expect(next.layers.count == 2 && journal.renames == 2)
        #expect(journal.faults == [] && journal.unsafeNames == [])
    }

    @Test(arguments: [few, many])
    func `so is one that was imported`(script: String) async throws {
        let journal = DiskJournal()
        let (source, store) = (try TestStore(), try TestStore(disk: journal.calls))
        let layer = try source.layer(script).layers[0].id
        _ = try await store.snapshots.importLayer(tar: Bytes(try source.exported(layer)))
        #expect(store.snapshots.contains(layer) && journal.renames == 1)
        #expect(journal.faults == [] && journal.unsafeNames == [])
        shell("mkdir \(store.root)/context; cd \(store.root)/context; \(script)")
        _ = try store.snapshots.importDirectory(store.root + "/context")
        _ = try store.snapshots.emptyLayer()
        #expect(journal.renames == 3)
        #expect(journal.faults == [] && journal.unsafeNames == [])
    }

    @Test func `a small layer from a peer is on the disk before it has a name`() async throws {
        let journal = DiskJournal()
        let (holder, store) = (try TestStore(), try TestStore(disk: journal.calls))
        let layer = try holder.layer(Self.few).layers[0].id
        _ = try await transfer(layer, from: holder.snapshots, to: store.snapshots)
        #expect(store.snapshots.contains(layer) && journal.renames == 1 && journal.marksTaken == 0)
        #expect(journal.faults == [] && journal.unsafeNames == [])
    }

    @Test func `a large layer from a peer has a mark on the disk until it is there itself`() async throws {
        let journal = DiskJournal()
        let (holder, store) = (try TestStore(), try TestStore(disk: journal.calls))
        let layer = try holder.layer(Self.many).layers[0].id
        _ = try await transfer(layer, from: holder.snapshots, to: store.snapshots)
        #expect(store.snapshots.contains(layer))
        let deadline = ContinuousClock.now + .seconds(30)
        while try !store.snapshots.unsyncedLayers().isEmpty {
            try #require(ContinuousClock.now < deadline, "a layer was not written back")
            await Task.yield()
        }
        #expect(journal.renames == 1 && journal.marksTaken == 1)
        #expect(journal.faults == [] && journal.unsafeNames == [])
    }

    @Test func `a blob is on the disk before it has a name, and its name before anybody hears of it`() throws {
        let journal = DiskJournal()
        let root = TestStore.freshDirectory()
        defer { removeTree(root) }
        let store = try ContentStore(root: root, disk: journal.calls)
        _ = try store.put([UInt8](repeating: 7, count: 100_000))
        #expect(journal.renames == 1)
        #expect(journal.faults == [] && journal.unsafeNames == [])
    }
}
