package import OCI

/// One layer of a snapshot: a diff over its parent, named by the digest of its canonical manifest.
package struct LayerDescriptor: Hashable, Sendable, Codable {
    /// The layer's name in the cluster: digest of the encoded `LayerManifest` (Transfer).
    ///
    /// Equal trees, equal names.
    package var id: Digest
    /// Bytes of file content in the layer: what a node without it has to pull, at most.
    package var bytes: Int64
    /// Digest of the layer as an uncompressed OCI tar, once known.
    package var diffID: Digest?
    /// The compressed blob that the layer came from, or was last exported as.
    package var blob: Descriptor?

    package init(id: Digest, bytes: Int64, diffID: Digest? = nil, blob: Descriptor? = nil) {
        self.id = id
        self.bytes = bytes
        self.diffID = diffID
        self.blob = blob
    }
}

/// A file tree as its layers, lowest first; no layers is scratch.
package struct LayerChain: Hashable, Sendable, Codable {
    package var layers: [LayerDescriptor]

    package init(_ layers: [LayerDescriptor] = []) { self.layers = layers }

    package static let scratch = LayerChain()

    /// Bytes of all layers together.
    package var bytes: Int64 { layers.reduce(0) { $0 + $1.bytes } }

    /// Names the tree: equal for equal layer sequences, on every node.
    package var id: Digest { Digest.of(layers.flatMap(\.id.bytes)) }

    package func appending(_ layer: LayerDescriptor) -> LayerChain { LayerChain(layers + [layer]) }
}
