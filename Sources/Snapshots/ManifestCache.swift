internal import OCI
internal import Transfer

/// Manifests in memory, the oldest dropped when there are too many entries; an entry takes about 300 bytes.
struct ManifestCache: Sendable {
    private let entriesMax: Int
    private var manifests: [Digest: LayerManifest] = [:]
    /// Oldest first.
    private var order: [Digest] = []
    private var entries = 0

    init(entriesMax: Int) { self.entriesMax = entriesMax }

    subscript(id: Digest) -> LayerManifest? { manifests[id] }

    /// One that is too large alone is kept until the next comes.
    mutating func insert(_ manifest: LayerManifest) {
        guard manifests.updateValue(manifest, forKey: manifest.id) == nil else { return }
        order.append(manifest.id)
        entries += manifest.entries.count
        while entries > entriesMax, order.count > 1 {
            entries -= manifests.removeValue(forKey: order.removeFirst())?.entries.count ?? 0
        }
    }

    mutating func remove(_ id: Digest) {
        guard let known = manifests.removeValue(forKey: id) else { return }
        entries -= known.entries.count
        order.removeAll { $0 == id }
    }
}
