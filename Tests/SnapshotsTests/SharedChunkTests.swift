internal import ClusterModel
internal import Glibc
internal import OCI
internal import Synchronization
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Chunks that a pull takes from layers of this node.
@Suite struct SharedChunkTests {
    private static let content = "mkdir d; head -c 3000000 /dev/urandom > d/big; head -c 40000 /dev/urandom > d/small"
    private static let contentBytes: Int64 = 3_040_000

    /// A layer with the content of `chain` in another place.
    private func moved(_ chain: LayerChain, to name: String, in store: TestStore) throws -> Digest {
        let view = try store.snapshots.view(of: chain)
        defer { view.release() }
        return try store.layer("cp -a \(view.path)/d \(name)").layers[0].id
    }

    @Test func `a collection takes no layer from which a pull copies`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try holder.layer(Self.content)
        let old = chain.layers[0].id
        let new = try moved(chain, to: "e", in: holder)
        _ = try await transfer(old, from: holder.snapshots, to: puller.snapshots)
        let refused = Counter()
        let tally = PullTally()
        var observer = tally.observer
        observer.deduplicated = { bytes in
            tally.observer.deduplicated(bytes)
            do { try puller.snapshots.remove(old) } catch SnapshotError.layerInUse {
                refused.value.add(1, ordering: .relaxed)
            } catch { Issue.record(error) }
        }
        try await puller.snapshots.pullLayer(
            new, from: [memoryHolder(1, new, holder.snapshots)], observer: observer)
        #expect(tally.values.deduplicated == Self.contentBytes && tally.values.content == 0, "\(tally.values)")
        #expect(refused.value.load(ordering: .relaxed) == 1)
        #expect(puller.snapshots.contains(old))
        // When the pull is over nothing holds it.
        try puller.snapshots.remove(old)
        #expect(try puller.snapshots.verify(new).isEmpty)
    }

    @Test func `a collection takes no old version from which a pull takes pieces`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try holder.layer(Self.content)
        let old = chain.layers[0].id
        let view = try holder.snapshots.view(of: chain)
        let new = try holder.layer(
            """
            cp -a \(view.path)/d .; for i in $(seq 0 9); do
            printf CHANGED | dd of=d/big bs=1 seek=$((i * 290000)) conv=notrunc status=none; done
            """
        ).layers[0].id
        view.release()
        _ = try await transfer(old, from: holder.snapshots, to: puller.snapshots)
        let (tries, refused) = (Counter(), Counter())
        let tally = PullTally()
        var observer = tally.observer
        observer.deduplicated = { bytes in
            tally.observer.deduplicated(bytes)
            tries.value.add(1, ordering: .relaxed)
            do { try puller.snapshots.remove(old) } catch { refused.value.add(1, ordering: .relaxed) }
        }
        try await puller.snapshots.pullLayer(
            new, from: [memoryHolder(1, new, holder.snapshots)], observer: observer)
        // What is unchanged, and then pieces of what changed.
        #expect(tries.value.load(ordering: .relaxed) >= 2)
        #expect(tries.value.load(ordering: .relaxed) == refused.value.load(ordering: .relaxed))
        #expect(try puller.snapshots.verify(new).isEmpty && tally.values.content < 200_000, "\(tally.values)")
    }

    // MARK: Indexes that lie

    /// A store with the content twice, in the first layer that is looked at and in a second.
    private func twice(_ holder: TestStore) async throws -> (puller: TestStore, first: Digest, wanted: Digest) {
        let puller = try TestStore()
        let chain = try holder.layer(Self.content)
        let other = try moved(chain, to: "e", in: holder)
        let wanted = try moved(chain, to: "f", in: holder)
        for layer in [chain.layers[0].id, other] {
            _ = try await transfer(layer, from: holder.snapshots, to: puller.snapshots)
        }
        return (puller, min(chain.layers[0].id, other), wanted)
    }

    private func pull(_ wanted: Digest, to puller: TestStore, from holder: TestStore) async throws -> PullTally.Values {
        let tally = PullTally()
        try await puller.snapshots.pullLayer(
            wanted, from: [memoryHolder(1, wanted, holder.snapshots)], observer: tally.observer)
        #expect(try puller.snapshots.verify(wanted).isEmpty)
        return tally.values
    }

    /// Bytes of a record of the index, and where its fields are.
    private static let (headBytes, recordBytes, entryOffset, lengthOffset) = (8, 24, 8, 12)

    /// Overwrites a field of 4 bytes in each record.
    private func spoil(_ layer: Digest, at field: Int, _ bytes: [UInt8], in store: TestStore) throws {
        let path = store.snapshots.layerPath(layer) + "/chunks"
        var index = try #require(try store.snapshots.readFile(path))
        for start in stride(from: Self.headBytes, to: index.count, by: Self.recordBytes) {
            index.replaceSubrange(start + field..<start + field + 4, with: bytes)
        }
        try write(index, to: path)
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let file = try FileDescriptor.open(path, O_WRONLY | O_TRUNC)
        try bytes.withUnsafeBytes { raw in Result { () throws(SnapshotError) in try file.write(raw, path) } }.get()
    }

    @Test func `a record of another length is no source, and the next layer is`() async throws {
        let holder = try TestStore()
        let (puller, first, wanted) = try await twice(holder)
        try spoil(first, at: Self.lengthOffset, [1, 2, 0, 0], in: puller)
        let values = try await pull(wanted, to: puller, from: holder)
        #expect(values.content == 0 && values.deduplicated == Self.contentBytes, "\(values)")
    }

    @Test func `a record of an entry that is not there costs its bytes, nothing else`() async throws {
        let holder = try TestStore()
        let (puller, first, wanted) = try await twice(holder)
        try spoil(first, at: Self.entryOffset, [0, 0, 0, 0x7F], in: puller)
        let values = try await pull(wanted, to: puller, from: holder)
        #expect(values.content == Self.contentBytes && values.deduplicated == 0, "\(values)")
    }

    @Test(arguments: [1, 23, 8 + 24 + 1, 8 + 24 * 2 - 1])
    func `an index that is cut, or another file, has nothing`(bytes: Int) async throws {
        let holder = try TestStore()
        let (puller, first, wanted) = try await twice(holder)
        let path = puller.snapshots.layerPath(first) + "/chunks"
        let index = try #require(try puller.snapshots.readFile(path))
        try write(Array(index.prefix(bytes)), to: path)
        var found = 0
        let keys = stride(from: Self.headBytes, to: index.count, by: Self.recordBytes).map { start in
            index[start..<start + 8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        }
        ChunkIndexFile.search(path, keys: keys) { _, _ in found += 1 }
        #expect(found == 0)
        let values = try await pull(wanted, to: puller, from: holder)
        #expect(values.content == 0 && values.deduplicated == Self.contentBytes, "\(values)")
        try write(Array("OTHER...".utf8) + index.dropFirst(Self.headBytes), to: path)
        ChunkIndexFile.search(path, keys: keys) { _, _ in found += 1 }
        #expect(found == 0)
        // As it was, it has all of them.
        try write(index, to: path)
        ChunkIndexFile.search(path, keys: keys) { _, _ in found += 1 }
        #expect(found == keys.count && found > 10)
    }
}
