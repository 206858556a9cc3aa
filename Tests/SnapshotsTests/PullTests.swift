internal import ClusterModel
internal import Glibc
internal import OCI
internal import Synchronization
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Pulls from several holders, with what can go wrong.
@Suite struct PullTests {
    /// 12 MB that do not compress, in files of all sizes.
    private func mixedLayer(_ store: TestStore) throws -> LayerChain {
        try store.layer(
            """
            mkdir many; i=0; while [ $i -lt 400 ]; do head -c $((i * 37)) /dev/urandom > many/$i; i=$((i + 1)); done
            head -c 9000000 /dev/urandom > big; cp big copy; head -c 100000 /dev/urandom > middle
            truncate -s 3M sparse; printf x | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
            """)
    }

    @Test func `several holders share the work`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try mixedLayer(holder)
        let layer = chain.layers[0].id
        let sent = (0..<3).map { _ in Counter() }
        let tally = PullTally()
        try await puller.snapshots.pullLayer(
            layer, from: (0..<3).map { memoryHolder(UInt64($0), layer, holder.snapshots, sent: sent[$0]) },
            observer: tally.observer)
        expectSame(try puller.dump(chain), try holder.dump(chain))
        #expect(sent.allSatisfy { $0.value.load(ordering: .relaxed) > 500_000 })
        // Who gave how much.
        #expect(tally.values.given.keys.sorted() == [0, 1, 2], "\(tally.values)")
        #expect(tally.values.given.allSatisfy { $0.value > 400_000 }, "\(tally.values)")
        #expect(tally.values.given.values.reduce(0, +) == tally.values.content)
        #expect(tally.values.deduplicated == 0 && tally.values.liars.isEmpty)
    }

    @Test(arguments: 0..<10)
    func `a link cut at any tenth is gone on with, over a restart`(tenth: Int) async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try mixedLayer(holder)
        let layer = chain.layers[0].id
        let whole = Int64(12_000_000)
        let sent = Counter()
        let (cut, rest) = (PullTally(), PullTally())
        await #expect(throws: PullFailure.self) {
            try await puller.snapshots.pullLayer(
                layer,
                from: [
                    memoryHolder(1, layer, holder.snapshots, sent: sent) { message in
                        sent.value.load(ordering: .relaxed) > whole * Int64(tenth) / 10 ? nil : message
                    }
                ], observer: cut.observer)
        }
        #expect(!puller.snapshots.contains(layer) && cut.values.liars.isEmpty)
        let again = try SnapshotStore(root: puller.root + "/store")
        try await again.pullLayer(layer, from: [memoryHolder(1, layer, holder.snapshots)], observer: rest.observer)
        expectSame(try puller.dump(chain), try holder.dump(chain))
        // Every pack that came whole is there. What had left the holder and did not come is lost: one pack that was open
        // and the window; a cut takes both, as the end of a connection does.
        #expect(rest.values.resumed == cut.values.content, "\(rest.values)")
        let pack = whole / 8 + Int64(FastCDC.chunkBytesMax)
        let lost = pack + Int64(MemoryStream.windowBytes + TransferMessage.payloadBytesMax)
        #expect(cut.values.content >= whole * Int64(tenth) / 10 - lost, "\(cut.values)")
        #expect(output("ls \(puller.root)/store/pulls") == "")
    }

    @Test func `a torn write is seen when a pull goes on`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try mixedLayer(holder)
        let layer = chain.layers[0].id
        let sent = Counter()
        try? await puller.snapshots.pullLayer(
            layer,
            from: [
                memoryHolder(1, layer, holder.snapshots, sent: sent) {
                    sent.value.load(ordering: .relaxed) > 9_000_000 ? nil : $0
                }
            ])
        let staged = puller.root + "/store/pulls/\(layer.hex)/layer/fs"
        shell(
            """
            cd \(staged); printf TORN | dd of=big bs=1 seek=70000 conv=notrunc status=none
            truncate -s 5 many/300; rm -f many/301; ln -s /etc/passwd many/301; echo long >> many/302
            """)
        let tally = PullTally()
        let again = try SnapshotStore(root: puller.root + "/store")
        try await again.pullLayer(layer, from: [memoryHolder(1, layer, holder.snapshots)], observer: tally.observer)
        expectSame(try puller.dump(chain), try holder.dump(chain))
        #expect(tally.values.resumed > 0)
    }

    @Test func `a holder that lies is named and its share comes from the other`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try mixedLayer(holder)
        let layer = chain.layers[0].id
        let tally = PullTally()
        let liar = memoryHolder(1, layer, holder.snapshots) { message in
            guard message.count > 100_000 else { return message }
            var message = message
            message[message.count - 9] ^= 4
            return message
        }
        let honest = memoryHolder(2, layer, holder.snapshots)
        try await puller.snapshots.pullLayer(layer, from: [liar, honest], observer: tally.observer)
        expectSame(try puller.dump(chain), try holder.dump(chain))
        #expect(tally.values.liars == [1])
    }

    @Test func `a holder that dies in the middle is replaced and not blamed`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try mixedLayer(holder)
        let layer = chain.layers[0].id
        let tally = PullTally()
        let sent = Counter()
        let dying = memoryHolder(1, layer, holder.snapshots, sent: sent) {
            sent.value.load(ordering: .relaxed) > 2_000_000 ? nil : $0
        }
        let spare = memoryHolder(2, layer, holder.snapshots, isKnown: false)
        try await puller.snapshots.pullLayer(layer, from: [dying, spare], observer: tally.observer)
        expectSame(try puller.dump(chain), try holder.dump(chain))
        #expect(tally.values.liars.isEmpty && tally.values.failed == [1])
    }

    @Test func `a holder that falls silent is replaced`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try mixedLayer(holder)
        let layer = chain.layers[0].id
        let tally = PullTally()
        let silent = LayerHolder(id: 1) { MemoryStream.pair().puller }
        try await puller.snapshots.pullLayer(
            layer, from: [memoryHolder(2, layer, holder.snapshots), silent], observer: tally.observer)
        #expect(puller.snapshots.contains(layer) && tally.values.liars.isEmpty)
        // And as the only one it is given up.
        let (other, alone) = (try TestStore(), PullTally())
        await #expect(throws: PullFailure.self) {
            try await other.snapshots.pullLayer(layer, from: [silent], observer: alone.observer)
        }
        #expect(alone.values.liars.isEmpty)
    }

    @Test func `what other layers have does not travel`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let old = try mixedLayer(holder)
        _ = try await transfer(old.layers[0].id, from: holder.snapshots, to: puller.snapshots)
        let view = try holder.snapshots.view(of: old)
        let source = view.path
        // Another layer with the same files and a few bytes changed, moved and added.
        let new = try holder.layer(
            """
            cp -a \(source)/. .; mv many other; printf NEW | dd of=big bs=1 seek=4000000 conv=notrunc status=none
            echo more >> other/7; echo fresh > fresh
            """)
        view.release()
        let tally = PullTally()
        try await puller.snapshots.pullLayer(
            new.layers[0].id, from: [memoryHolder(1, new.layers[0].id, holder.snapshots)], observer: tally.observer)
        expectSame(try puller.dump(new), try holder.dump(new))
        #expect(tally.values.content < 3 * Int64(FastCDC.chunkBytesMax), "\(tally.values)")
        #expect(tally.values.deduplicated > 11_000_000)
        // What is damaged in the old layer is no source.
        let third = try TestStore()
        _ = try await transfer(old.layers[0].id, from: holder.snapshots, to: third.snapshots)
        shell(
            "cd \(third.snapshots.contentPath(of: old.layers[0].id)); dd if=/dev/urandom of=big bs=1M count=8 conv=notrunc status=none"
        )
        let damaged = PullTally()
        try await third.snapshots.pullLayer(
            new.layers[0].id, from: [memoryHolder(1, new.layers[0].id, holder.snapshots)], observer: damaged.observer)
        expectSame(try third.dump(new), try holder.dump(new))
        #expect(damaged.values.content > 6_000_000)
    }

    @Test func `a holder cannot remove what it serves, and says so when it has`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try mixedLayer(holder)
        let layer = chain.layers[0].id
        let refused = Counter()
        let serving = memoryHolder(1, layer, holder.snapshots) { message in
            do { try holder.snapshots.remove(layer) } catch { refused.value.add(1, ordering: .relaxed) }
            return message
        }
        try await puller.snapshots.pullLayer(layer, from: [serving])
        #expect(puller.snapshots.contains(layer))
        #expect(refused.value.load(ordering: .relaxed) > 10)
    }

    @Test func `a part of a layer comes alone, and is what the whole has there`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try holder.layer(
            """
            mkdir -p a/b/wanted a/other; head -c 3000000 /dev/urandom > a/b/wanted/x; cp a/b/wanted/x a/0; echo y > a/b/wanted/y
            head -c 5000000 /dev/urandom > a/other/big; head -c 200000 /dev/urandom > 0; ln 0 a/b/wanted/link
            ln -s ../a/b way; ln -s /way/wanted way2; setfattr -n user.k -v v a/b; touch -d @1000000000 a/b
            """)
        let whole = try holder.snapshots.manifest(of: chain.layers[0].id)
        let selector = ContentSelector(path: "/way2", followsSymlinks: true)
        let footprint = try #require(try TreeFootprint(of: [selector], in: [whole]))
        let part = try LayerPart(of: whole, footprint)
        #expect(!puller.snapshots.contains(part.manifest.id))
        let tally = PullTally()
        let holders = [memoryHolder(1, whole.id, holder.snapshots)]
        let asked = try await puller.snapshots.pullManifest(of: whole.id, from: holders)
        #expect(asked == whole)
        // Once: the next that reads a part of the layer knows what is in it.
        #expect(try await puller.snapshots.pullManifest(of: whole.id, from: []) == whole)
        #expect(!puller.snapshots.contains(whole.id))
        #expect(throws: SnapshotError.self) { try puller.snapshots.manifest(of: whole.id) }
        try await puller.snapshots.pullPart(part, from: holders, observer: tally.observer)
        #expect(tally.values.content == 3_200_002, "\(tally.values)")
        #expect(part.leftOutBytes == 8_000_000)
        #expect(!puller.snapshots.contains(whole.id) && puller.snapshots.contains(part.manifest.id))
        #expect(try puller.snapshots.verify(part.manifest.id).isEmpty)
        let partChain = LayerChain([try puller.snapshots.descriptor(of: part.manifest.id)])
        let listing = "find . -printf '%P %y %m %U %G %T@ %l\\n' | sort; sha256sum x y link"
        let (left, right) = (try holder.snapshots.view(of: chain), try puller.snapshots.view(of: partChain))
        expectSame(
            output("cd \(left.path)/a/b/wanted && \(listing)"), output("cd \(right.path)/a/b/wanted && \(listing)"))
        #expect(output("cd \(right.path) && find . | sort | xargs") == "\(Self.partPaths)\n")
        left.release()
        right.release()
        // The whole, afterwards, does without what is here.
        let rest = PullTally()
        try await puller.snapshots.pullLayer(whole.id, from: holders, observer: rest.observer)
        expectSame(try puller.dump(chain), try holder.dump(chain))
        #expect(rest.values.content == 5_000_000 && rest.values.deduplicated == 3_200_002, "\(rest.values)")
    }

    private static let partPaths =
        ". ./0 ./a ./a/b ./a/b/wanted ./a/b/wanted/link ./a/b/wanted/x ./a/b/wanted/y ./way ./way2"

    @Test func `a manifest of 10 GB and a zstd bomb are refused, and take no memory`() async throws {
        let puller = try TestStore()
        // 1 GiB of zeros in 33 KB, in a frame that doesn't say how long it is, and in one that does.
        shell("cd \(puller.root); truncate -s 1G zeros; zstd -q < zeros > silent; zstd -q zeros -o honest; rm zeros")
        func bomb(_ name: String) throws -> [TransferMessage] {
            let bytes = try #require(try puller.snapshots.readFile(puller.root + "/" + name))
            #expect(bytes.count < 100_000)
            let pack = TransferMessage.Pack(
                request: 0, coding: .zstd, plainBytes: 4 << 20, encodedBytes: bytes.count, bytes: bytes[...])
            return [.manifest(total: 4 << 20), .pack(pack)]
        }
        let cases = [
            ([TransferMessage.manifest(total: 10 << 30)], "a manifest of 10737418240 bytes"),
            (try bomb("silent"), "does not decompress to 4194304 bytes"),
            (try bomb("honest"), "does not decompress to 4194304 bytes"),
        ]
        let before = Self.peakKilobytes
        for (messages, reason) in cases {
            let tally = PullTally()
            let hostile = LayerHolder(id: 9) {
                let (near, far) = MemoryStream.pair()
                for message in messages { try await far.send(message.encoded()) }
                return near
            }
            let failure = await #expect(throws: PullFailure.self) {
                try await puller.snapshots.pullLayer(Digest.of([1]), from: [hostile], observer: tally.observer)
            }
            #expect(failure?.reason.contains(reason) == true, "\(failure?.reason ?? "")")
            #expect(tally.values.liars == [9])
        }
        #expect(Self.peakKilobytes - before < 100_000)
    }

    /// The most memory that this process has had.
    private static var peakKilobytes: Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss
    }
}
