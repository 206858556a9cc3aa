package import ClusterModel
internal import Glibc
internal import OCI
internal import Transfer

extension SnapshotStore {
    /// Mounts a writable tree over `chain`.
    ///
    /// End it with `commit` or `discard`.
    ///
    /// - Throws: `SnapshotError`: a layer is missing, the disk is full, overlayfs refuses.
    package func prepare(over chain: LayerChain) throws -> WorkSnapshot {
        let stack = try stackable(chain)
        let layers = Self.directories(stack)
        let pinned = chain.layers.map(\.id) + stack
        try pin(pinned)
        let relative = "work/\(nextNumber())"
        let directory = root + "/" + relative
        do {
            let rootEntry = try rootEntry(of: chain)
            try makeDirectory(directory)
            for name in ["layer", "layer/fs", "work", "merged", "links"] { try makeDirectory(directory + "/" + name) }
            try LayerMaterializer.setMetadata(ofRoot: directory + "/layer/fs", to: rootEntry)
            if layers.isEmpty {
                // overlayfs wants a lower directory: an empty one, since scratch has none.
                try makeDirectory(directory + "/empty")
            }
            try OverlayMount.mount(
                base: root, lowers: layers.isEmpty ? [relative + "/empty"] : layers, upper: relative + "/layer/fs",
                work: relative + "/work", target: relative + "/merged", links: relative + "/links")
            return WorkSnapshot(
                path: directory + "/merged", chain: chain, directory: directory, rootEntry: rootEntry, pinned: pinned)
        } catch {
            removeTree(directory)
            unpin(pinned)
            throw error
        }
    }

    /// Drops a writable tree and all that was written to it.
    ///
    /// Harmless after `commit`.
    package func discard(_ work: WorkSnapshot) {
        guard work.close() else { return }
        try? OverlayMount.unmount(work.path)
        // What resists (someone still has it open, lazily unmounted) is removed at the next start.
        removeTree(work.directory)
        unpin(work.pinned)
    }

    /// A tree to read from.
    ///
    /// - Throws: `SnapshotError`: a layer is missing, the disk is full, overlayfs refuses.
    package func view(of chain: LayerChain) throws -> ViewSnapshot {
        let stack = try stackable(chain)
        var layers = Self.directories(stack)
        let pinned = chain.layers.map(\.id) + stack
        try pin(pinned)
        do {
            let rootEntry = try rootEntry(of: chain)
            let top = try stack.last.map { try manifest(of: $0) }
            let needsRoot = top.map { $0.entries.first?.path.isEmpty != true && rootEntry != Self.defaultRoot } ?? true
            if layers.count == 1, !needsRoot, top?.deletions.isEmpty == true {
                return ViewSnapshot(path: root + "/" + layers[0], chain: chain) { [self] in unpin(pinned) }
            }
            let relative = "work/\(nextNumber())"
            let directory = root + "/" + relative
            let end: @Sendable () -> Void = { [self] in
                try? OverlayMount.unmount(directory + "/merged")
                removeTree(directory)
                unpin(pinned)
            }
            do {
                try makeDirectory(directory)
                for name in ["empty", "merged", "links"] { try makeDirectory(directory + "/" + name) }
                try LayerMaterializer.setMetadata(ofRoot: directory + "/empty", to: rootEntry)
                guard !layers.isEmpty else {
                    return ViewSnapshot(path: directory + "/empty", chain: chain, end: end)
                }
                // On top for the root's metadata, or to make the two that overlayfs wants.
                if needsRoot || layers.count == 1 { layers.insert(relative + "/empty", at: 0) }
                try OverlayMount.mount(
                    base: root, lowers: layers, upper: nil, work: nil, target: relative + "/merged",
                    links: relative + "/links")
            } catch {
                removeTree(directory)
                throw error
            }
            return ViewSnapshot(path: directory + "/merged", chain: chain, end: end)
        } catch {
            unpin(pinned)
            throw error
        }
    }

    /// The root directory where no layer names it.
    static let defaultRoot = LayerEntry(path: [], mode: 0o755, kind: .directory(isOpaque: false))

    /// The root directory's metadata: those of the uppermost layer that names it.
    func rootEntry(of chain: LayerChain) throws -> LayerEntry {
        for layer in chain.layers.reversed() {
            guard let first = try manifest(of: layer.id).entries.first, first.path.isEmpty else { continue }
            return LayerEntry(
                path: [], mode: first.mode, uid: first.uid, gid: first.gid, modified: first.modified,
                attributes: first.attributes, kind: .directory(isOpaque: false))
        }
        return Self.defaultRoot
    }

    /// Directories relative to `root`, uppermost first.
    private static func directories(_ layers: [Digest]) -> [String] { layers.reversed().map { "layers/\($0.hex)/fs" } }
}
