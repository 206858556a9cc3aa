internal import ClusterModel
internal import Glibc
internal import OCI
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Random changes through real overlays, against the model and each way a layer can travel.
@Suite struct RandomTreeTests {
    /// Changes a mounted tree at random: few names, so that they meet often.
    private func scramble(_ path: String, _ random: inout SplitMix64, steps: Int) {
        func name() -> String {
            let depth = Int.random(in: 1...3, using: &random)
            return path + "/"
                + (0..<depth).map { _ in ["a", "b", "c", "a-b"].randomElement(using: &random) ?? "a" }.joined(
                    separator: "/")
        }
        for _ in 0..<steps {
            let target = name()
            switch Int.random(in: 0..<9, using: &random) {
            case 0, 1: mkdir(target, [0o755, 0o700, 0o1777].randomElement(using: &random) ?? 0o755)
            case 2, 3:
                let file = open(target, O_WRONLY | O_CREAT | O_NOFOLLOW, 0o644)
                guard file >= 0 else { continue }
                let text = "content \(Int.random(in: 0..<4, using: &random))"
                _ = write(file, text, text.utf8.count)
                var times = [timespec(tv_sec: 1_000_000_000, tv_nsec: 5), timespec(tv_sec: 1_000_000_000, tv_nsec: 5)]
                if Bool.random(using: &random) { futimens(file, &times) }
                close(file)
            case 4: removeTree(target)
            case 5: rename(target, name())
            case 6: symlink(["a", "/b/c", "../c", "nowhere"].randomElement(using: &random) ?? "a", target)
            case 7: link(target, name())
            default: lchown(target, UInt32.random(in: 0..<3, using: &random), 7)
            }
        }
    }

    private func chain(
        _ store: TestStore, _ random: inout SplitMix64, over base: LayerChain, layers: Int
    ) throws -> LayerChain {
        var chain = base
        for _ in 0..<layers {
            let work = try store.snapshots.prepare(over: chain)
            scramble(work.path, &random, steps: 25)
            if let layer = try store.snapshots.commit(work) { chain = chain.appending(layer) }
        }
        return chain
    }

    @Test(arguments: UInt64(0)..<24)
    func `the model equals what overlayfs shows`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let store = try TestStore()
        let chain = try chain(store, &random, over: .scratch, layers: 4)
        #expect(try store.merged(chain) == store.scanned(chain))
    }

    @Test(arguments: UInt64(100)..<116)
    func `a difference applied to the lower tree gives the upper one`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let store = try TestStore()
        let base = try chain(store, &random, over: .scratch, layers: 1)
        let lower = try chain(store, &random, over: base, layers: 2)
        let upper = try chain(store, &random, over: base, layers: 2)
        let difference = try store.snapshots.diff(lower: lower, upper: upper)
        let result = try store.snapshots.merge([lower, difference])
        // A directory whose own metadata do not differ keeps its time.
        func timeless(_ entries: [LayerEntry]) -> [LayerEntry] {
            entries.map { entry in
                var entry = entry
                if entry.isDirectory { entry.modified = FileTime() }
                return entry
            }
        }
        #expect(try timeless(store.scanned(result)) == timeless(store.scanned(upper)))
        #expect(try timeless(store.merged(result)) == timeless(store.merged(upper)))
        // By itself too, where its whiteouts have nothing to hide.
        #expect(try store.scanned(difference) == store.merged(difference))
        let alone = try store.snapshots.prepare(over: difference)
        #expect(output("ls -lR '\(alone.path)' 2>&1 | grep '?'") == "")
        store.snapshots.discard(alone)
        // Built on it, the layers are the difference.
        let above = try chain(store, &random, over: upper, layers: 2)
        let layers = try store.snapshots.diff(lower: upper, upper: above)
        #expect(layers.layers == Array(above.layers[upper.layers.count...]))
        #expect(try store.snapshots.diff(lower: upper, upper: upper) == .scratch)
    }

    @Test(arguments: UInt64(200)..<212)
    func `merging is applying one tree's changes after the other's`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let store = try TestStore()
        let base = try chain(store, &random, over: .scratch, layers: 1)
        let left = try chain(store, &random, over: base, layers: 2)
        let right = try chain(store, &random, over: base, layers: 1)
        let merged = try store.snapshots.merge([left, right])
        // With the shared layer there twice, as the model can and overlayfs cannot.
        let twice = LayerChain(left.layers + right.layers)
        #expect(try store.scanned(merged) == store.merged(twice))
        #expect(try store.scanned(twice) == store.merged(twice))
    }

    @Test(arguments: UInt64(300)..<308)
    func `layers keep their ids in archives and pulls, and content digests ignore the split`(seed: UInt64) async throws
    {
        var random = SplitMix64(seed: seed)
        let (store, other) = (try TestStore(), try TestStore())
        let chain = try chain(store, &random, over: .scratch, layers: 3)
        for layer in chain.layers {
            let archive = try store.exported(layer.id)
            #expect(try await other.snapshots.importLayer(tar: Bytes(archive)).id == layer.id)
            try other.snapshots.remove(layer.id)
            _ = try await transfer(layer.id, from: store.snapshots, to: other.snapshots)
            #expect(try other.exported(layer.id) == archive)
        }
        #expect(try other.scanned(chain) == store.scanned(chain))
        let view = try store.snapshots.view(of: chain)
        defer { view.release() }
        let flat = LayerChain([try store.snapshots.importDirectory(view.path).layer])
        let everything = [ContentSelector(path: "/")]
        #expect(
            try store.snapshots.tree(of: flat).contentDigest(of: everything)
                == store.snapshots.tree(of: chain).contentDigest(of: everything))
    }
}
