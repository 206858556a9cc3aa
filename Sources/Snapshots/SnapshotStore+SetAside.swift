internal import Glibc
internal import OCI
internal import Transfer

extension SnapshotStore {
    /// Takes a damaged layer out of use, and keeps what is good of it: who needs the layer next fetches the rest from a
    /// peer.
    ///
    /// - Parameter damages: all that `verify` found of one layer; nothing is done when there are none.
    /// - Throws: `.layerInUse` while a snapshot or transfer needs it.
    package func setAside(_ damages: [LayerDamage]) throws {
        guard let layer = damages.first?.layer else { return }
        let kept = root + "/pulls/" + layer.hex
        // Cleared at the start: when the process ends before all is mended, no pull goes on with the rest.
        let staging = root + "/staging/\(nextNumber())"
        defer { removeTree(staging) }
        if damages.contains(where: { $0.kind == .manifest }) {
            // Nothing else tells what belongs to the layer.
            try takeOut(layer, to: staging)
            removeTree(kept)
            return
        }
        let manifest = try self.manifest(of: layer)
        try takeOut(layer, to: staging)
        let content = try FileDescriptor.directory(staging + "/fs")
        for damage in damages { try Self.mend(damage, manifest, in: content) }
        removeTree(kept)
        try makeDirectory(kept)
        guard rename(staging, kept + "/layer") == 0 else { throw SnapshotError.last("rename", kept + "/layer") }
    }

    /// Removes what a pull that goes on would leave: it checks chunks, and sets what the manifest lists, no more.
    private static func mend(
        _ damage: LayerDamage, _ manifest: LayerManifest, in content: borrowing FileDescriptor
    ) throws(SnapshotError) {
        if damage.kind == .missing { return }
        let (parentPath, lastName) = split(damage.path)
        // It may have gone with its parent, which did not belong there either.
        guard let parent = try? content.directory(beneath: parentPath) else { return }
        if damage.kind == .content || damage.kind == .metadata, let entry = manifest.entry(at: damage.path) {
            switch entry.kind {
            case .file, .directory:
                let name = damage.path.isEmpty ? [UInt8(ascii: ".")] : [UInt8](lastName)
                return try removeSurplusAttributes(of: entry, at: parent.procPath(name))
            // The others are made anew at no cost.
            default: break
            }
        }
        let code = removeTree([UInt8](lastName), in: parent)
        guard code == 0 else { throw .failed("unlink", display(damage.path), code: code) }
    }

    private static func removeSurplusAttributes(of entry: LayerEntry, at path: [UInt8]) throws(SnapshotError) {
        var listed = Set(entry.attributes.map(\.name))
        if entry.kind == .directory(isOpaque: true) { listed.insert(ExtendedAttributes.opaqueName) }
        let found = try ExtendedAttributes.read(path, entry.displayPath)
        for attribute in found where !listed.contains(attribute.name) {
            try ExtendedAttributes.remove(attribute.name, at: path, entry.displayPath)
        }
    }
}
