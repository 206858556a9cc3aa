package import OCI

/// One layer of a snapshot: a diff over its parent, named by the digest of its canonical manifest.
package struct LayerDescriptor: Hashable, Sendable, Codable {
    /// Most bytes that a layer may be said to have, 1 PiB: as many as its manifest may name (Transfer).
    package static let bytesMax: Int64 = 1 << 50

    /// The layer's name in the cluster: digest of the encoded `LayerManifest` (Transfer).
    ///
    /// Equal trees, equal names.
    package var id: Digest
    /// Bytes of file content in the layer: what a node without it has to pull, at most.
    ///
    /// 0...`bytesMax` wherever it comes from a peer or from the disk.
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

    /// Reads a stored layer.
    ///
    /// A number of bytes out of range is taken as the nearest one that is in it: it is only what a pull may cost, and a
    /// record that cannot be read could be neither listed nor pruned.
    ///
    /// - Throws: `DecodingError` when a field is missing or of another type.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        id = try fields.decode(Digest.self, forKey: .id)
        bytes = min(max(0, try fields.decode(Int64.self, forKey: .bytes)), Self.bytesMax)
        diffID = try fields.decodeIfPresent(Digest.self, forKey: .diffID)
        blob = try fields.decodeIfPresent(Descriptor.self, forKey: .blob)
    }
}

extension Sequence<LayerDescriptor> {
    /// Bytes of all these layers together; `Int64.max` when they are more.
    ///
    /// How many layers there are, and how large they are said to be, may be a peer's word: it must not end the process.
    package var totalBytes: Int64 {
        reduce(0) { sum, layer in
            let (next, overflow) = sum.addingReportingOverflow(layer.bytes)
            return overflow ? .max : next
        }
    }
}

/// A file tree as its layers, lowest first; no layers is scratch.
package struct LayerChain: Hashable, Sendable, Codable {
    package var layers: [LayerDescriptor]

    package init(_ layers: [LayerDescriptor] = []) { self.layers = layers }

    package static let scratch = LayerChain()

    /// Bytes of all layers together; `Int64.max` when they are more.
    package var bytes: Int64 { layers.totalBytes }

    /// Names the tree: equal for equal layer sequences, on every node.
    package var id: Digest { Digest.of(layers.flatMap(\.id.bytes)) }

    package func appending(_ layer: LayerDescriptor) -> LayerChain { LayerChain(layers + [layer]) }
}
