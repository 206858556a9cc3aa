internal import ClusterModel
internal import Logging
internal import OCI
internal import PathPatterns
internal import Snapshots
internal import Solver
internal import Transfer

/// A tree that will be read, and what of it.
struct TreeReading: Sendable {
    var tree: Assignment.Input
    /// Nil: all of it.
    var selections: [ContentSelection]?

    func hasAny(of layers: Set<Digest>) -> Bool { tree.chain.layers.contains { layers.contains($0.id) } }
}

/// Layers that are brought here and kept for as long as somebody builds on them.
extension LayerFetcher {
    /// A layer may be collected between its arrival and the moment it is held; more often than this it is not for long.
    private static let holdAttemptsMax = 3
    /// Share of a layer's bytes, in percent, above which all of it is pulled: the next step may read the rest, and a whole
    /// layer serves other nodes too.
    private static let partPercentMax: Int64 = 75

    /// Makes what is read of a tree local and holds it; returns the tree to read: the same, or one that has the selected
    /// parts only.
    ///
    /// - Throws: `LayersUnavailable`, `SnapshotError`, `CancellationError`.
    func hold(_ reading: TreeReading, in held: HeldLayers) async throws -> LayerChain {
        let chain = reading.tree.chain
        if held.hold(chain.layers.map(\.id)) { return chain }
        return try await renewingLeases(on: reading.tree) {
            if let selections = reading.selections,
                let part = try await fetchPart(of: reading.tree, selections), held.hold(part.layers.map(\.id))
            {
                return part
            }
            for layer in chain.layers {
                var attempts = 0
                while !held.hold([layer.id]) {
                    guard attempts < Self.holdAttemptsMax else {
                        throw LayersUnavailable(layer: layer.id, asked: attempts)
                    }
                    attempts += 1
                    try await fetch(layer, from: reading.tree.holders)
                }
            }
            return chain
        }
    }

    /// Pulls what `selections` read of a tree, layer by layer; nil when that is all of it, or cannot be told.
    private func fetchPart(of tree: Assignment.Input, _ selections: [ContentSelection]) async throws -> LayerChain? {
        var manifests: [LayerManifest] = []
        for layer in tree.chain.layers {
            manifests.append(
                snapshots.contains(layer.id)
                    ? try snapshots.manifest(of: layer.id) : try await manifest(of: layer, from: tree.holders))
        }
        // A path that is not there: the operation says so in its own words.
        guard let footprint = try? TreeFootprint(of: selections.map(ContentSelector.init), in: manifests) else {
            return nil
        }
        var layers: [LayerDescriptor] = []
        for (layer, manifest) in zip(tree.chain.layers, manifests) {
            if snapshots.contains(layer.id) {
                layers.append(layer)
                continue
            }
            let part = try LayerPart(of: manifest, footprint)
            if part.manifest.contentBytes * 100 > manifest.contentBytes * Self.partPercentMax
                || part.manifest.entries.count == manifest.entries.count
            {
                try await fetch(layer, from: tree.holders)
                layers.append(layer)
                continue
            }
            if !part.manifest.entries.isEmpty {
                try await pull(part, from: tree.holders)
                layers.append(LayerDescriptor(id: part.manifest.id, bytes: part.manifest.contentBytes))
            }
            TransferTally.current?.add(\.leftOut, part.leftOutBytes)
            counters.add(\.layerBytesLeftOut, UInt64(part.leftOutBytes))
        }
        return LayerChain(layers)
    }

    // MARK: Leases

    /// Runs a pull of several layers and keeps those that have not come yet from being collected where they are.
    private func renewingLeases<T: Sendable>(
        on tree: Assignment.Input, _ body: @escaping @Sendable () async throws -> T
    ) async throws -> T {
        try await withThrowingTaskGroup(of: T?.self) { group in
            group.addTask { try await body() }
            group.addTask {
                while true {
                    try await Task.sleep(for: leases.period)
                    await renewLeases(on: tree)
                }
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() ?? nil else { throw CancellationError() }
            return value
        }
    }

    private func renewLeases(on tree: Assignment.Input) async {
        await leases.renew(tree.chain.layers.map(\.id).filter { !snapshots.contains($0) }, at: tree.holders)
    }
}

extension ContentSelector {
    /// Clients allow wildcards on every copy; a plain path that does not exist is an error all the same.
    init(_ selection: ContentSelection) {
        self.init(
            path: selection.path,
            allowsWildcard: selection.allowsWildcards && GoPattern.hasWildcards(selection.path),
            followsSymlinks: selection.followsSymlinks, includePatterns: selection.includePatterns,
            excludePatterns: selection.excludePatterns, requiredPaths: selection.requiredPaths)
    }
}
