package import ClusterModel
internal import Glibc
internal import OCI
internal import Transfer

extension SnapshotStore {
    /// The tree that has each chain's changes applied over those of the chains before it (BuildKit's merge op).
    ///
    /// That is what stacking the layers means. Of a layer that is there twice the upper one decides.
    package func merge(_ chains: [LayerChain]) throws -> LayerChain {
        var seen: Set<Digest> = []
        var layers: [LayerDescriptor] = []
        for layer in chains.flatMap(\.layers).reversed() where seen.insert(layer.id).inserted { layers.append(layer) }
        guard layers.count < Self.layersMax else { throw SnapshotError.tooManyLayers(layers.count) }
        return LayerChain(layers.reversed())
    }

    /// The changes that lead from `lower` to `upper` (BuildKit's diff op), deletions as whiteouts.
    ///
    /// The layers of `upper` as they are when it is built on `lower`, else one new layer.
    package func diff(lower: LayerChain, upper: LayerChain) throws -> LayerChain {
        let shared = lower.layers.map(\.id)
        if upper.layers.count >= shared.count, upper.layers.prefix(shared.count).map(\.id) == shared {
            return LayerChain(Array(upper.layers[shared.count...]))
        }
        let pinned = upper.layers.map(\.id)
        try pin(pinned)
        defer { unpin(pinned) }
        let difference = TreeDifference(from: try tree(of: lower), to: try tree(of: upper))
        guard !difference.entries.isEmpty else { return .scratch }
        let manifest = try layerManifest(difference.entries)
        try build(manifest) { difference.origins[$0.path] }
        return LayerChain([LayerDescriptor(id: manifest.id, bytes: manifest.contentBytes)])
    }

    /// The layer that changes nothing: what a step that wrote nothing adds, so that every step of an image's history has
    /// its layer.
    package func emptyLayer() throws -> LayerDescriptor {
        let manifest = try layerManifest([])
        try build(manifest) { _ in nil }
        return LayerDescriptor(id: manifest.id, bytes: manifest.contentBytes)
    }

    /// Makes a layer whose files are all in other layers of this node.
    private func build(_ manifest: LayerManifest, from origin: (LayerEntry) -> TreeDifference.Origin?) throws {
        guard !contains(manifest.id) else { return }
        let staging = try makeStaging()
        defer { removeTree(staging) }
        var builder = try LayerMaterializer(manifest, at: staging + "/layer/fs")
        try builder.makeDirectories()
        var linked: Set<[UInt8]> = []
        for entry in manifest.entries {
            guard case .file(let size, _) = entry.kind, let origin = origin(entry) else { continue }
            let source = try FileDescriptor.directory(contentPath(of: origin.layer))
            let parent = try source.directory(beneath: split(origin.path).parent)
            do throws(SnapshotError) {
                // The same inode: committed files never change, and their metadata are the entry's.
                try builder.link(parent, origin.path, as: entry)
                linked.insert(entry.path)
            } catch {
                guard error.forbidsLink else { throw error }
                let from = try parent.file(beneath: split(origin.path).name, O_RDONLY)
                try FileContent.copy(from: from, to: builder.makeFile(entry), size: size, entry.path)
            }
        }
        try builder.finish { linked.contains(manifest.entries[$0].path) }
        try seal(staging + "/layer", as: manifest)
    }

    /// The chain's layers as overlayfs can stack them, lowest first.
    ///
    /// None twice: overlayfs refuses that, and the lower one of two equal layers adds nothing, since all that it has and
    /// hides, the upper one has and hides too. And no whiteout in a directory that no layer below has: overlayfs lists it
    /// there, as a name that cannot be used. Such a layer is replaced by one without that whiteout.
    func stackable(_ chain: LayerChain) throws -> [Digest] {
        var seen: Set<Digest> = []
        var layers: [Digest] = []
        for layer in chain.layers.reversed() where seen.insert(layer.id).inserted { layers.append(layer.id) }
        guard layers.count < Self.layersMax else { throw SnapshotError.tooManyLayers(layers.count) }
        layers.reverse()
        let manifests = try layers.map { try self.manifest(of: $0) }
        for (position, manifest) in manifests.enumerated() where !manifest.deletions.isEmpty {
            let stray = Self.strayWhiteouts(in: manifest, over: manifests[..<position])
            guard !stray.isEmpty else { continue }
            let entries = manifest.entries.enumerated().filter { !stray.contains($0.offset) }.map(\.element)
            let settled = try layerManifest(entries)
            let id = manifest.id
            try build(settled) { TreeDifference.Origin(layer: id, path: $0.path) }
            layers[position] = settled.id
        }
        return layers
    }

    /// Indices of whiteouts whose directory is in no layer below.
    private static func strayWhiteouts(in manifest: LayerManifest, over lowers: ArraySlice<LayerManifest>) -> Set<Int> {
        var stray: Set<Int> = []
        var known: [ArraySlice<UInt8>: Bool] = [:]
        for index in manifest.deletions where manifest.entries[index].isWhiteout {
            let parent = split(manifest.entries[index].path).parent
            // The root is merged with the empty directory or the upper one at least.
            if parent.isEmpty { continue }
            let isMerged = known[parent] ?? (visible([UInt8](parent), in: lowers)?.isDirectory == true)
            known[parent] = isMerged
            if !isMerged { stray.insert(index) }
        }
        return stray
    }

    /// A new directory with `layer/fs` in it, for a layer that is being made.
    ///
    /// Whoever made it removes it.
    func makeStaging() throws(SnapshotError) -> String {
        let path = root + "/staging/\(nextNumber())"
        for directory in [path, path + "/layer", path + "/layer/fs", path + "/data"] { try makeDirectory(directory) }
        return path
    }
}
