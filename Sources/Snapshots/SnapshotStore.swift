internal import CLinux
package import ClusterModel
package import ContentStore
internal import Glibc
package import OCI
internal import Synchronization
package import Transfer

/// Layers on disk, and the trees that they make together.
///
/// Layout below `root`: `layers/<hex>/fs` is a layer in overlayfs' own form (0/0 character devices as whiteouts,
/// `trusted.overlay.opaque`) beside `layers/<hex>/manifest` (and `unsynced` until it is on the disk), `work/<n>` are mounts and what is written below them,
/// `staging/<n>` are layers that are being made, `pulls/<hex>` layers that come from peers, `trash/<n>` what is being deleted. A name in `layers` is there whole or not
/// at all, also after a power cut. All methods are thread-safe; one process a root. Needs CAP_SYS_ADMIN.
package final class SnapshotStore: Sendable {
    /// overlayfs' OVL_MAX_STACK.
    package static let layersMax = 500
    /// Entries of all manifests of this node's layers that are kept in memory.
    private static let cachedEntriesMax = 300_000
    /// Entries of manifests that holders told of: few, as only those who read parts of layers ask.
    private static let foreignEntriesMax = 100_000
    private static let cachedTreesMax = 64

    private struct State {
        /// How many snapshots and transfers need a layer.
        var uses: [Digest: Int] = [:]
        var manifests = ManifestCache(entriesMax: cachedEntriesMax)
        /// Of layers that are not here.
        var foreign = ManifestCache(entriesMax: foreignEntriesMax)
        var trees: [Digest: MergedTree] = [:]
        var treeOrder: [Digest] = []
        var pulls: [Digest: PullWaiters] = [:]
        var writeBack = WriteBack()
        /// Until when a layer is kept for somebody who was told that it is here.
        var leases: [Digest: ContinuousClock.Instant] = [:]
        /// Content bytes of layers, for sums that must not read manifests again and again.
        var sizes: [Digest: Int64] = [:]
    }

    package let root: String
    /// Layers of another format that were found at the start and dropped: their names mean nothing any more.
    package let droppedLayers: Int
    let disk: DiskCalls
    /// How long pulls wait for holders, and holders for pullers.
    let transferLimits: TransferLimits
    private let state = Mutex(State())
    private let numbers = Atomic<UInt64>(0)

    /// Opens the store below `root` and removes what a crash left: mounts, work directories, half-made layers.
    ///
    /// - Throws: `SnapshotError` when the directories cannot be made or cleaned.
    package init(
        root: String, disk: DiskCalls = .system, transferLimits: TransferLimits = TransferLimits()
    ) throws {
        guard let resolved = realpath(root, nil) ?? { mkdir(root, 0o700) == 0 ? realpath(root, nil) : nil }() else {
            throw SnapshotError.last("realpath", root)
        }
        defer { free(resolved) }
        self.root = String(cString: resolved)
        self.disk = disk
        self.transferLimits = transferLimits
        droppedLayers = try Self.clean(self.root, disk)
        try recoverUnsynced()
    }

    /// Opens the store below `root` to read it while another process may use it: nothing is removed or made.
    ///
    /// - Throws: `SnapshotError` when it is not there.
    package init(reading root: String) throws {
        guard let resolved = realpath(root, nil) else { throw SnapshotError.last("realpath", root) }
        defer { free(resolved) }
        self.root = String(cString: resolved)
        disk = .system
        transferLimits = TransferLimits()
        droppedLayers = 0
    }

    // MARK: Layers

    /// Whether the layer is on this node.
    package func contains(_ layer: Digest) -> Bool {
        access(layerPath(layer) + "/manifest", F_OK) == 0
    }

    func layerPath(_ layer: Digest) -> String { root + "/layers/" + layer.hex }

    /// The layer's directory in overlayfs' form.
    ///
    /// It must not be written to.
    package func contentPath(of layer: Digest) -> String { layerPath(layer) + "/fs" }

    /// What the layer holds.
    ///
    /// - Throws: `SnapshotError.unknownLayer`, `.corruptLayer`.
    package func manifest(of layer: Digest) throws -> LayerManifest {
        if let known = state.withLock({ $0.manifests[layer] }) { return known }
        let path = layerPath(layer) + "/manifest"
        guard let bytes = try readFile(path) else { throw SnapshotError.unknownLayer(layer) }
        let manifest: LayerManifest
        do { manifest = try LayerManifest(decoding: bytes) } catch {
            throw SnapshotError.corruptLayer(layer, "\(error)")
        }
        guard manifest.id == layer else {
            throw SnapshotError.corruptLayer(layer, "its manifest has digest \(manifest.id)")
        }
        remember(manifest)
        return manifest
    }

    func remember(_ manifest: LayerManifest) {
        state.withLock { state in
            state.manifests.insert(manifest)
            state.foreign.remove(manifest.id)
        }
    }

    /// What a layer that need not be here holds, as far as a holder has told of it lately.
    func foreignManifest(of layer: Digest) -> LayerManifest? { state.withLock { $0.foreign[layer] } }

    func rememberForeign(_ manifest: LayerManifest) { state.withLock { $0.foreign.insert(manifest) } }

    /// The merged tree of a chain; trees of its lower parts are shared.
    package func tree(of chain: LayerChain) throws -> MergedTree {
        guard let top = chain.layers.last else { return MergedTree() }
        let key = chain.id
        if let known = state.withLock({ $0.trees[key] }) { return known }
        // From the highest part that is known: recursion would be as deep as the chain is long.
        var start = chain.layers.count - 1
        var tree = MergedTree()
        while start > 0 {
            let part = LayerChain(Array(chain.layers[..<start])).id
            if let known = state.withLock({ $0.trees[part] }) {
                tree = known
                break
            }
            start -= 1
        }
        for layer in chain.layers[start...] {
            tree = tree.applying(try manifest(of: layer.id))
            guard layer != top else { break }
        }
        let result = tree
        state.withLock { state in
            guard state.trees.updateValue(result, forKey: key) == nil else { return }
            state.treeOrder.append(key)
            if state.treeOrder.count > Self.cachedTreesMax { state.trees[state.treeOrder.removeFirst()] = nil }
        }
        return result
    }

    /// Describes a layer that is on this node.
    package func descriptor(of layer: Digest) throws -> LayerDescriptor {
        LayerDescriptor(id: layer, bytes: try manifest(of: layer).contentBytes)
    }

    /// All layers on this node, in digest order.
    package func list() throws -> [Digest] {
        let path = root + "/layers"
        return try names(in: FileDescriptor.directory(path), path)
            .compactMap { Digest(hex: String(decoding: $0, as: UTF8.self)) }.sorted()
    }

    /// Bytes of content of a layer, without metadata.
    package func bytes(of layer: Digest) throws -> Int64 {
        if let known = state.withLock({ $0.sizes[layer] }) { return known }
        let bytes = try manifest(of: layer).contentBytes
        state.withLock { $0.sizes[layer] = bytes }
        return bytes
    }

    /// Bytes of content of all layers.
    package func usage() throws -> Int64 { try list().reduce(0) { $0 + (try bytes(of: $1)) } }

    /// Deletes a layer; harmless when it is not there.
    ///
    /// - Throws: `.layerInUse` while a snapshot or transfer needs it.
    package func remove(_ layer: Digest) throws {
        let trash = root + "/trash/\(nextNumber())"
        try state.withLock { state in
            guard state.uses[layer] == nil, !Self.isLeased(layer, &state) else {
                throw SnapshotError.layerInUse(layer)
            }
            // Under the lock, so that no snapshot starts to use it now.
            guard rename(layerPath(layer), trash) == 0 || errno == ENOENT else {
                throw SnapshotError.last("rename", layerPath(layer))
            }
            state.sizes[layer] = nil
            state.manifests.remove(layer)
        }
        let code = removeTree(trash)
        guard code == 0 else { throw SnapshotError.failed("unlink", trash, code: code) }
    }

    // MARK: What the parts of the store share

    func nextNumber() -> UInt64 { numbers.add(1, ordering: .relaxed).newValue }

    /// Keeps layers from being removed until `unpin`.
    ///
    /// - Throws: `.unknownLayer` when one is not there.
    package func pin(_ layers: [Digest]) throws {
        try state.withLock { state in
            for layer in layers where !contains(layer) { throw SnapshotError.unknownLayer(layer) }
            for layer in layers { state.uses[layer, default: 0] += 1 }
        }
    }

    /// Takes back a `pin`.
    package func unpin(_ layers: [Digest]) {
        state.withLock { state in
            for layer in layers {
                let count = (state.uses[layer] ?? 0) - 1
                state.uses[layer] = count > 0 ? count : nil
            }
        }
    }

    /// Keeps layers that are here from being removed for `duration`, and from now on longer when that ends later.
    ///
    /// For those who have been told that a layer is here and will come for it.
    package func lease(_ layers: [Digest], for duration: Duration) {
        let end = ContinuousClock.now + duration
        state.withLock { state in
            for layer in layers where contains(layer) { state.leases[layer] = max(end, state.leases[layer] ?? end) }
        }
    }

    /// Whether a snapshot or transfer needs the layer, or somebody has been told that it is here.
    package func isNeeded(_ layer: Digest) -> Bool {
        state.withLock { $0.uses[layer] != nil || Self.isLeased(layer, &$0) }
    }

    private static func isLeased(_ layer: Digest, _ state: inout State) -> Bool {
        guard let end = state.leases[layer] else { return false }
        if end > .now { return true }
        state.leases[layer] = nil
        return false
    }

    /// Takes a layer that nobody uses out of the store, to `directory`, which is not there.
    func takeOut(_ layer: Digest, to directory: String) throws {
        try state.withLock { state in
            guard state.uses[layer] == nil else { throw SnapshotError.layerInUse(layer) }
            guard rename(layerPath(layer), directory) == 0 else {
                throw SnapshotError.last("rename", layerPath(layer))
            }
            state.sizes[layer] = nil
            state.manifests.remove(layer)
        }
    }

    func withPulls<Result>(_ body: (inout [Digest: PullWaiters]) -> Result) -> Result {
        state.withLock { body(&$0.pulls) }
    }

    func withWriteBack<Result>(_ body: (inout WriteBack) -> sending Result) -> sending Result {
        state.withLock { body(&$0.writeBack) }
    }

    func whileNothingIsRemoved(_ body: () -> Void) { state.withLock { _ in body() } }

    /// Moves a layer directory (`fs` and `manifest`) into place, and makes its name durable unless the layer is not
    /// durable itself.
    ///
    /// An equal layer that is there already is kept.
    func publish(_ directory: String, as layer: Digest, isDurable: Bool = true) throws(SnapshotError) {
        let target = layerPath(layer)
        if disk.rename(directory, target) != 0 {
            guard errno == ENOTEMPTY || errno == EEXIST else { throw .last("rename", target) }
            removeTree(directory)
            return
        }
        if isDurable { try syncDirectory(root + "/layers", disk) }
    }

    func readFile(_ path: String) throws(SnapshotError) -> [UInt8]? {
        let raw = open(path, O_RDONLY | O_CLOEXEC)
        guard raw >= 0 else {
            if errno == ENOENT { return nil }
            throw .last("open", path)
        }
        let file = FileDescriptor(raw: raw)
        var status = stat()
        guard fstat(raw, &status) == 0 else { throw .last("fstat", path) }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var position = 0
        while position < bytes.count {
            let start = position
            let total = bytes.count
            let result = bytes.withUnsafeMutableBytes { raw in
                Result { () throws(SnapshotError) in
                    try file.read(
                        into: UnsafeMutableRawBufferPointer(rebasing: raw[start..<total]), at: Int64(start), path)
                }
            }
            let count = try result.get()
            guard count > 0 else { break }
            position += count
        }
        return bytes
    }
}
