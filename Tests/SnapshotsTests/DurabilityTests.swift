internal import ClusterModel
internal import Glibc
internal import OCI
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Large layers from peers are in use before they are on the disk.
@Suite struct DurabilityTests {
    private func pulled(files: Int) async throws -> (holder: TestStore, puller: TestStore, layer: Digest) {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try holder.layer(
            "for i in $(seq \(files)); do echo $i > f$i; done; head -c 300000 /dev/urandom > big")
        let layer = chain.layers[0].id
        try await puller.snapshots.pullLayer(layer, from: [memoryHolder(1, layer, holder.snapshots)])
        try await becomesDurable(puller.snapshots)
        return (holder, puller, layer)
    }

    private func becomesDurable(_ store: SnapshotStore) async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        while try !store.unsyncedLayers().isEmpty {
            try #require(ContinuousClock.now < deadline, "a layer was not written back")
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    private func mark(_ layer: Digest, in store: TestStore, _ boot: String) -> String {
        let path = store.snapshots.layerPath(layer) + "/unsynced"
        shell("\(boot) > \(path)")
        return path
    }

    @Test func `a layer that the same kernel still has is written back and not read again`() async throws {
        let (_, puller, layer) = try await pulled(files: 40)
        _ = mark(layer, in: puller, "cat /proc/sys/kernel/random/boot_id")
        // It would be noticed if the layer were read.
        shell("echo other > \(puller.snapshots.contentPath(of: layer))/f7")
        let again = try SnapshotStore(root: puller.root + "/store")
        #expect(again.contains(layer))
        try await becomesDurable(again)
        #expect(again.contains(layer))
    }

    @Test func `after a power cut a whole layer stays, and a torn one is pulled to its end`() async throws {
        let (holder, puller, layer) = try await pulled(files: 40)
        _ = mark(layer, in: puller, "echo another-boot")
        let whole = try SnapshotStore(root: puller.root + "/store")
        #expect(whole.contains(layer))
        try await becomesDurable(whole)
        _ = mark(layer, in: puller, "echo another-boot")
        shell("cd \(puller.snapshots.contentPath(of: layer)); : > f7; truncate -s 100000 big; rm f9")
        let torn = try SnapshotStore(root: puller.root + "/store")
        #expect(!torn.contains(layer))
        let tally = PullTally()
        try await torn.pullLayer(layer, from: [memoryHolder(1, layer, holder.snapshots)], observer: tally.observer)
        #expect(try torn.verify(layer).isEmpty)
        #expect(tally.values.resumed > 0 && tally.values.content > 0, "\(tally.values)")
        try await becomesDurable(torn)
    }

    @Test func `a mark is there before a large layer, and a small layer needs none`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        for (files, isMarked) in [(40, true), (3, false)] {
            let chain = try holder.layer("for i in $(seq \(files)); do echo $i > f$i; done")
            let layer = chain.layers[0].id
            let manifest = try holder.snapshots.manifest(of: layer)
            let directory = puller.root + "/staged\(files)"
            let target = try PulledLayer(manifest, in: directory)
            try puller.snapshots.mark(target)
            #expect((access(directory + "/layer/unsynced", F_OK) == 0) == isMarked)
        }
    }
}
