internal import ClusterModel
internal import OCI
internal import Synchronization
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// A layer that changed in many small places comes by what is new of its chunks.
@Suite struct DeltaTests {
    private struct Versions {
        let holder: TestStore
        let puller: TestStore
        let old: LayerChain
        let new: LayerChain
    }

    /// 16 MB, and the same with 4 KiB changed in every 400 KB, a file moved by some bytes, and a new one.
    private func versions() async throws -> Versions {
        let (holder, puller) = (try TestStore(), try TestStore())
        let old = try holder.layer(
            """
            mkdir d; head -c 12000000 /dev/urandom > d/big; head -c 4000000 /dev/urandom > moved
            i=0; while [ $i -lt 20 ]; do head -c 20000 /dev/urandom > small$i; i=$((i + 1)); done
            """)
        _ = try await transfer(old.layers[0].id, from: holder.snapshots, to: puller.snapshots)
        let view = try holder.snapshots.view(of: old)
        let new = try holder.layer(
            """
            cp -a \(view.path)/. .; i=0
            while [ $i -lt 30 ]; do
                head -c 4096 /dev/urandom | dd of=d/big bs=4096 seek=$((i * 97 + 11)) conv=notrunc status=none; i=$((i + 1))
            done
            { head -c 1000000 moved; echo more; tail -c +1000001 moved; } > t; mv t moved; head -c 50000 /dev/urandom > fresh
            i=0; while [ $i -lt 20 ]; do echo x | dd of=small$i bs=1 seek=9000 conv=notrunc status=none; i=$((i + 1)); done
            """)
        view.release()
        return Versions(holder: holder, puller: puller, old: old, new: new)
    }

    @Test func `small changes all over a layer cost little more than themselves`() async throws {
        let versions = try await versions()
        let layer = versions.new.layers[0].id
        let tally = PullTally()
        try await versions.puller.snapshots.pullLayer(
            layer, from: [memoryHolder(1, layer, versions.holder.snapshots)], observer: tally.observer)
        expectSame(try versions.puller.dump(versions.new), try versions.holder.dump(versions.new))
        // 30 stretches of 4 KiB and 21 of some bytes, each with a piece on either side, and the new file.
        #expect(tally.values.content < 50_000 + 30 * 10_000 + 21 * 8_000, "\(tally.values)")
        #expect(tally.values.content + tally.values.deduplicated == 16_450_005, "\(tally.values)")
        #expect(tally.values.liars.isEmpty && tally.values.failed.isEmpty)
    }

    @Test func `a part of a layer comes by what is new of it`() async throws {
        let versions = try await versions()
        let whole = try versions.holder.snapshots.manifest(of: versions.new.layers[0].id)
        let footprint = try #require(try TreeFootprint(of: [ContentSelector(path: "/d")], in: [whole]))
        let part = try LayerPart(of: whole, footprint)
        let tally = PullTally()
        try await versions.puller.snapshots.pullPart(
            part, from: [memoryHolder(1, whole.id, versions.holder.snapshots)], observer: tally.observer)
        #expect(try versions.puller.snapshots.verify(part.manifest.id).isEmpty)
        #expect(tally.values.content < 30 * 10_000, "\(tally.values)")
    }

    @Test func `old files that are damaged cost their chunks, nothing else`() async throws {
        let versions = try await versions()
        let layer = versions.new.layers[0].id
        // The lengths stay: pieces of what is read now are asked for, or do not fit.
        shell(
            """
            cd \(versions.puller.snapshots.contentPath(of: versions.old.layers[0].id))
            dd if=/dev/urandom of=d/big bs=1M seek=2 count=4 conv=notrunc status=none; truncate -s 100 moved; rm small3
            """)
        let tally = PullTally()
        try await versions.puller.snapshots.pullLayer(
            layer, from: [memoryHolder(1, layer, versions.holder.snapshots)], observer: tally.observer)
        expectSame(try versions.puller.dump(versions.new), try versions.holder.dump(versions.new))
        #expect(tally.values.liars.isEmpty)
    }

    @Test(arguments: ["outline", "pieces", "nothing"])
    func `a holder that lies about pieces, or does not know them, gives the layer by whole chunks`(
        what: String
    ) async throws {
        let versions = try await versions()
        let layer = versions.new.layers[0].id
        let tally = PullTally()
        // Only while outlines are exchanged.
        let outlines = Counter()
        let holder = memoryHolder(1, layer, versions.holder.snapshots) { message in
            guard let decoded = try? TransferMessage(decoding: message) else { return message }
            switch decoded {
            case .outline(let request, var pieces):
                outlines.value.add(1, ordering: .relaxed)
                if what == "nothing" { return nil }
                guard what == "outline" else { return message }
                // The first piece is said to be the second.
                pieces[0] = ChunkOutline.Piece(length: pieces[0].length, key: pieces[1].key)
                return TransferMessage.outline(request: request, pieces).encoded()
            case .pack(let pack)
            where what == "pieces" && pack.request == 0 && outlines.value.load(ordering: .relaxed) == 1:
                var message = message
                message[message.count - 1] ^= 1
                outlines.value.add(1, ordering: .relaxed)
                return message
            default: return message
            }
        }
        try await versions.puller.snapshots.pullLayer(layer, from: [holder], observer: tally.observer)
        expectSame(try versions.puller.dump(versions.new), try versions.holder.dump(versions.new))
        #expect(outlines.value.load(ordering: .relaxed) > 0)
        if what == "nothing" { #expect(tally.values.liars.isEmpty && tally.values.content > 1_000_000) }
    }
}
