internal import ClusterModel
internal import OCI
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Damage that is not in a chunk is not published again.
@Suite struct RepairTests {
    /// Damages a layer that has come from a peer, and expects that it is whole once it was set aside and came again.
    private func expectRepair(
        of script: String, damagedBy damage: String, naming expected: Set<String>
    ) async throws -> PullTally.Values {
        let (holder, store) = (try TestStore(), try TestStore())
        let chain = try holder.layer(script)
        let layer = chain.layers[0].id
        _ = try await transfer(layer, from: holder.snapshots, to: store.snapshots)
        #expect(try store.snapshots.verify(layer).isEmpty)
        shell("cd \(store.snapshots.contentPath(of: layer)); \(damage)")
        let damages = try store.snapshots.verify(layer)
        let found = Set(damages.map { "\(String(decoding: $0.path, as: UTF8.self)) \($0.kind)" })
        #expect(found.isSuperset(of: expected), "\(found)")
        try store.snapshots.setAside(damages)
        #expect(!store.snapshots.contains(layer))
        #expect(output("ls \(store.root)/store/staging") == "")
        let tally = PullTally()
        try await store.snapshots.pullLayer(
            layer, from: [memoryHolder(1, layer, holder.snapshots)], observer: tally.observer)
        let left = try store.snapshots.verify(layer)
        #expect(left.isEmpty, "\(left)")
        expectSame(try store.dump(chain), try holder.dump(chain))
        return tally.values
    }

    private func write(_ text: String, to file: String, at offset: Int) -> String {
        """
        t=$(stat -c %y \(file)); printf \(text) | dd of=\(file) bs=1 seek=\(offset) conv=notrunc status=none
        touch -d "$t" \(file)
        """
    }

    private static let sparse = """
        truncate -s 4M sparse; head -c 1500000 /dev/urandom > data
        dd if=data of=sparse bs=64k seek=16 conv=notrunc status=none; rm data; head -c 1000000 /dev/urandom > big
        """

    @Test(arguments: [500_000, 3_900_000])
    func `a sparse file with bytes in a hole is made anew`(offset: Int) async throws {
        let values = try await expectRepair(
            of: Self.sparse, damagedBy: write("BAD", to: "sparse", at: offset), naming: ["sparse hole"])
        // The other file is kept.
        #expect(values.resumed == 1_000_000 && values.content >= 1_500_000, "\(values)")
    }

    @Test func `a sparse file that is damaged elsewhere keeps its other chunks`() async throws {
        let values = try await expectRepair(
            of: "\(Self.sparse); rm big", damagedBy: write("BAD", to: "sparse", at: 2_000_000),
            naming: ["sparse content"])
        #expect(values.resumed > 900_000 && values.content <= 2 * Int64(FastCDC.chunkBytesMax), "\(values)")
    }

    @Test func `attributes that do not belong to a file or directory go, and the others stay`() async throws {
        let values = try await expectRepair(
            of: "mkdir d hidden; echo 1 > d/a; echo 2 > b; setfattr -n user.own -v 1 b d",
            damagedBy: """
                setfattr -n user.more -v 1 b d; setfattr -n user.own -v 2 b
                setfattr -n trusted.overlay.opaque -v y hidden
                """,
            naming: ["b metadata", "d metadata", "hidden metadata"])
        #expect(values.content == 0, "\(values)")
    }

    @Test func `what is of another type, hard-linked otherwise or not of the layer is made anew`() async throws {
        _ = try await expectRepair(
            of: """
                mkdir e; echo 1 > e/inside; echo 2 > a; ln -s one link
                head -c 100000 /dev/urandom > one; head -c 100000 /dev/urandom > two
                """,
            damagedBy: """
                rm -r e; echo x > e; rm a; mkdir a; echo y > a/inside; rm link; mkdir link
                ln -f one two; echo more > extra
                """,
            naming: [
                "e type", "e/inside missing", "a type", "a/inside surplus", "link type", "two type", "extra surplus",
            ])
    }

    @Test func `a layer whose manifest is damaged comes again whole`() async throws {
        let values = try await expectRepair(
            of: "head -c 100000 /dev/urandom > a; echo 2 > b",
            damagedBy: "echo x >> ../manifest; echo more > surplus; setfattr -n user.more -v 1 b",
            naming: [" manifest"])
        #expect(values.resumed == 0 && values.content == 100_002, "\(values)")
    }
}
