package import OCI

/// All that a layer is, in canonical form: equal trees have equal manifests and equal ids on every node.
///
/// Entries are in the byte order of their paths, so that each parent precedes its children. Each entry's parent is a
/// directory of the same layer (the root, which is implied, when the path has one component).
package struct LayerManifest: Sendable {
    package static let formatVersion: UInt8 = 2
    /// Bounds the memory that a manifest from a peer can take (a full distribution has about 200,000).
    package static let entriesMax = 4_000_000
    /// Linux' PATH_MAX.
    package static let pathBytesMax = 4_095
    /// Linux' NAME_MAX.
    package static let nameBytesMax = 255
    /// A full distribution has about 25 MB; what a peer announces beyond this is refused before memory is taken.
    package static let encodedBytesMax = 256 << 20
    /// Linux' XATTR_SIZE_MAX and XATTR_LIST_MAX.
    package static let attributeBytesMax = 65_536
    package static let attributesMax = 1_024
    /// Sum of all file sizes, 1 PiB: no sum overflows.
    package static let contentBytesMax: Int64 = 1 << 50
    /// Attributes of this prefix mean something to overlayfs itself: a foreign layer must not carry them.
    package static let overlayAttributePrefix = Array("trusted.overlay.".utf8)

    package let entries: [LayerEntry]
    /// The layer's name in the cluster: digest of `encoded()`.
    package let id: Digest
    /// Sum of the sizes of all files; a hard link counts nothing.
    package let contentBytes: Int64
    /// Indices of whiteouts and opaque directories, which matter only over other layers.
    package let deletions: [Int]

    /// A manifest of `entries` in any order.
    ///
    /// - Throws: `ManifestError` when an entry breaks a rule of this type.
    package init(entries: [LayerEntry]) throws(ManifestError) {
        let sorted = entries.sorted { $0.path.lexicographicallyPrecedes($1.path) }
        let checked = try Self.check(sorted)
        self.entries = sorted
        contentBytes = checked.contentBytes
        deletions = checked.deletions
        id = Digest.of(Self.encode(sorted))
    }

    /// Wraps entries that have been checked, with the digest of their encoding.
    init(checked entries: [LayerEntry], id: Digest, contentBytes: Int64, deletions: [Int]) {
        self.entries = entries
        self.id = id
        self.contentBytes = contentBytes
        self.deletions = deletions
    }

    /// The entry at `path`, by binary search.
    package func entry(at path: some RandomAccessCollection<UInt8>) -> LayerEntry? {
        let index = lowerBound(of: path)
        return index < entries.count && entries[index].path.elementsEqual(path) ? entries[index] : nil
    }

    /// Index of the first entry whose path is not before `path`.
    package func lowerBound(of path: some RandomAccessCollection<UInt8>) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].path.lexicographicallyPrecedes(path) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension LayerManifest: Hashable {
    package static func == (left: LayerManifest, right: LayerManifest) -> Bool { left.id == right.id }
    package func hash(into hasher: inout Hasher) { hasher.combine(id) }
}
