internal import ClusterModel
internal import OCI
internal import Testing
internal import Transfer

@testable internal import Snapshots

@Suite struct VerifyTests {
    @Test func `every kind of damage is named, and what is damaged comes from a peer`() async throws {
        let (holder, store) = (try TestStore(), try TestStore())
        let chain = try holder.layer(
            """
            mkdir d; head -c 3000000 /dev/urandom > d/big; echo 1 > small; echo 2 > gone; ln -s x link; echo m > mode
            mknod null c 1 3; ln small hard
            """)
        let layer = chain.layers[0].id
        _ = try await transfer(layer, from: holder.snapshots, to: store.snapshots)
        #expect(try store.snapshots.verify(layer).isEmpty)
        shell(
            """
            cd \(store.snapshots.contentPath(of: layer)); t=$(stat -c %y d/big)
            printf BAD | dd of=d/big bs=1 seek=1500000 conv=notrunc status=none; touch -d "$t" d/big
            rm gone; chmod 600 mode; echo more > surplus; mkdir d/other; rm link; ln -s y link
            """)
        let damages = try store.snapshots.verify(layer)
        let found = Set(damages.map { "\(String(decoding: $0.path, as: UTF8.self)) \($0.kind)" })
        #expect(
            found.isSuperset(of: [
                "d/big content", "gone missing", "mode metadata", "surplus surplus", "d/other surplus", "link metadata",
            ]), "\(found)")
        #expect(!found.contains { $0.hasPrefix("small") || $0.hasPrefix("null") })
        try store.snapshots.setAside(damages)
        #expect(!store.snapshots.contains(layer))
        let tally = PullTally()
        try await store.snapshots.pullLayer(
            layer, from: [memoryHolder(1, layer, holder.snapshots)], observer: tally.observer)
        expectSame(try store.dump(chain), try holder.dump(chain))
        #expect(try store.snapshots.verify(layer).isEmpty)
        #expect(tally.values.content <= Int64(FastCDC.chunkBytesMax) + 2 && tally.values.resumed > 2_500_000)
    }

    @Test func `a layer in use is not set aside, and a leased one not removed`() throws {
        let store = try TestStore()
        let chain = try store.layer("echo 1 > a")
        let layer = chain.layers[0].id
        shell("echo 2 > \(store.snapshots.contentPath(of: layer))/a")
        let view = try store.snapshots.view(of: chain)
        #expect(throws: SnapshotError.self) { try store.snapshots.setAside(store.snapshots.verify(layer)) }
        view.release()
        store.snapshots.lease([layer], for: .seconds(60))
        #expect(throws: SnapshotError.self) { try store.snapshots.remove(layer) }
        store.snapshots.lease([Digest.of([1])], for: .seconds(60))
        let other = try store.layer("echo 3 > b").layers[0].id
        store.snapshots.lease([other], for: .zero)
        try store.snapshots.remove(other)
        #expect(!store.snapshots.contains(other))
    }

    @Test func `layers of another format are dropped at the start, once`() throws {
        let store = try TestStore()
        let layer = try store.layer("echo 1 > a").layers[0].id
        #expect(try SnapshotStore(root: store.root + "/store").droppedLayers == 0)
        shell("echo 1 > \(store.root)/store/format")
        let again = try SnapshotStore(root: store.root + "/store")
        #expect(again.droppedLayers == 1 && !again.contains(layer))
        #expect(try SnapshotStore(root: store.root + "/store").droppedLayers == 0)
    }
}
