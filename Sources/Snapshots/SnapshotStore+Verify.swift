internal import Glibc
package import OCI
internal import Transfer

/// Something of a layer on disk that is not as its manifest says.
package struct LayerDamage: Sendable, Hashable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case manifest = "its manifest cannot be used"
        case missing = "it is missing"
        case surplus = "it does not belong to the layer"
        case content = "its content is another"
        case metadata = "its kind, owner, mode, time or attributes are others"
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
        if case .file = expected.kind, case .file = found.kind, expected.kind != found.kind { return .content }
        return expected == found ? nil : .metadata
    }

    /// Takes a damaged layer out of use, and keeps what is good of it: who needs the layer next fetches the rest from a
    /// peer.
    ///
    /// - Throws: `.layerInUse` while a snapshot or transfer needs it.
    package func setAside(_ damages: [LayerDamage]) throws {
        guard let layer = damages.first?.layer else { return }
        let directory = root + "/pulls/" + layer.hex
        removeTree(directory)
        try makeDirectory(directory)
        try takeOut(layer, to: directory + "/layer")
        let content = try FileDescriptor.directory(directory + "/layer/fs")
        for damage in damages where damage.kind == .surplus {
            // It may have gone with its parent, which did not belong there either.
            guard let parent = try? content.directory(beneath: split(damage.path).parent) else { continue }
            let code = removeTree([UInt8](split(damage.path).name), in: parent)
            guard code == 0 else { throw SnapshotError.failed("unlink", display(damage.path), code: code) }
        }
    }
}
