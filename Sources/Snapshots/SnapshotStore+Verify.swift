package import OCI
internal import Transfer

/// Something of a layer on disk that is not as its manifest says.
package struct LayerDamage: Sendable, Hashable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case manifest = "its manifest cannot be used"
        case missing = "it is missing"
        case surplus = "it does not belong to the layer"
        /// Also bytes where the file should have a hole: only chunks are checked when a pull goes on.
        case hole = "it has other bytes where only zeros belong"
        case content = "its content is another"
        case type = "it is of another type, or hard-linked otherwise"
        case metadata = "its owner, mode, time, target, device number or attributes are others"
    }

    package let layer: Digest
    package let path: [UInt8]
    package let kind: Kind

    package var description: String {
        "layer \(layer): /\(String(decoding: path, as: UTF8.self)): \(kind.rawValue)"
    }
}

extension SnapshotStore {
    /// Reads all of a layer again, every byte and all metadata, and names what is not as its manifest says.
    ///
    /// - Throws: `SnapshotError` when the disk cannot be read.
    package func verify(_ layer: Digest) throws -> [LayerDamage] {
        try pin([layer])
        defer { unpin([layer]) }
        guard let bytes = try readFile(layerPath(layer) + "/manifest"), Digest.of(bytes) == layer,
            let manifest = try? LayerManifest(decoding: bytes)
        else { return [LayerDamage(layer: layer, path: [], kind: .manifest)] }
        var scanner = TreeScanner(form: .overlayUpper)
        try scanner.scan(FileDescriptor.directory(contentPath(of: layer)))
        let hasRoot = manifest.entries.first?.path.isEmpty == true
        let found = scanner.entries.filter { hasRoot || !$0.path.isEmpty }
            .sorted { $0.path.lexicographicallyPrecedes($1.path) }
        var damages: [LayerDamage] = scanner.sockets.map { LayerDamage(layer: layer, path: $0, kind: .surplus) }
        var index = 0
        for entry in manifest.entries {
            while index < found.count, found[index].path.lexicographicallyPrecedes(entry.path) {
                damages.append(LayerDamage(layer: layer, path: found[index].path, kind: .surplus))
                index += 1
            }
            guard index < found.count, found[index].path == entry.path else {
                damages.append(LayerDamage(layer: layer, path: entry.path, kind: .missing))
                continue
            }
            if let kind = Self.difference(entry, found[index]) {
                damages.append(LayerDamage(layer: layer, path: entry.path, kind: kind))
            }
            index += 1
        }
        return damages + found[index...].map { LayerDamage(layer: layer, path: $0.path, kind: .surplus) }
    }

    private static func difference(_ expected: LayerEntry, _ found: LayerEntry) -> LayerDamage.Kind? {
        if expected == found { return nil }
        switch (expected.kind, found.kind) {
        case (.file(_, let content), .file(let size, let other)) where expected.kind != found.kind:
            return content.keepsHoles(in: other, size: size) ? .content : .hole
        case (.directory, .directory), (.file, .file), (.hardlink, .hardlink), (.symlink, .symlink),
            (.characterDevice, .characterDevice), (.blockDevice, .blockDevice), (.fifo, .fifo):
            return .metadata
        default: return .type
        }
    }
}

extension ChunkedContent {
    /// Whether all holes of this content are holes of `other`, a file of `size` bytes: what is behind its end does not
    /// count.
    fileprivate func keepsHoles(in other: ChunkedContent, size: Int64) -> Bool {
        let found = other.holes
        var index = 0
        for hole in holes where hole.lowerBound < size {
            let end = min(hole.upperBound, size)
            while index < found.count, found[index].upperBound < end { index += 1 }
            guard index < found.count, found[index].lowerBound <= hole.lowerBound else { return false }
        }
        return true
    }

    /// Stretches of zeros, in order.
    private var holes: [Range<Int64>] {
        var holes: [Range<Int64>] = []
        var offset: Int64 = 0
        for piece in pieces {
            if piece.digest == nil { holes.append(offset..<offset + piece.length) }
            offset += piece.length
        }
        return holes
    }
}
