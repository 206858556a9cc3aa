internal import ContentStore
internal import Dispatch
internal import Glibc
package import OCI
internal import Transfer

/// Large layers from peers are used at once and written back to the disk meanwhile: their bytes can be had again, and the
/// disk is slower than the network.
///
/// Until then a layer has a file `unsynced` beside its manifest, durable before the layer is in place, with the boot id
/// of the kernel whose page cache holds it. A process that is killed loses nothing; after a power cut every such layer
/// is read again when the store is opened, and one that is damaged goes back to `pulls`, where a pull goes on with it.
extension SnapshotStore {
    private static let markName = "/unsynced"

    private static func markPath(_ directory: String) -> String { directory + markName }

    /// Marks a layer that is being pulled, unless it is so small that it is synced before it is in place.
    func mark(_ target: PulledLayer) throws(SnapshotError) {
        guard !Self.isSyncedSingly(target.manifest) else { return }
        let layer = target.directory + "/layer"
        let path = Self.markPath(layer)
        let file = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        let written = (bootID() ?? []).withUnsafeBytes { bytes in
            Result { () throws(SnapshotError) in try file.write(bytes, path) }
        }
        try written.get()
        try file.sync(path, disk)
        try syncDirectory(layer, disk)
    }

    /// Moves a layer that has come whole into place.
    func seal(_ target: PulledLayer) throws(SnapshotError) {
        let (manifest, layer) = (target.manifest, target.directory + "/layer")
        guard !Self.isSyncedSingly(manifest) else { return try seal(layer, as: manifest) }
        guard !contains(manifest.id) else { return remember(manifest) }
        try ChunkIndexFile.write(target.table, to: layer + "/chunks")
        try publish(layer, as: manifest.id, isDurable: false)
        remember(manifest)
        writeBack([manifest.id])
    }

    /// Layers that are not known to be on the disk yet.
    package func unsyncedLayers() throws -> [Digest] {
        try list().filter { access(Self.markPath(layerPath($0)), F_OK) == 0 }
    }

    /// Looks after what an earlier process had not seen reach the disk.
    func recoverUnsynced() throws {
        let boot = bootID()
        var whole: [Digest] = []
        for layer in try unsyncedLayers() {
            // The same kernel still has what the process before this one wrote.
            let isKept = try boot != nil && readFile(Self.markPath(layerPath(layer))) == boot
            let damages = isKept ? [] : try verify(layer)
            if damages.isEmpty { whole.append(layer) } else { try setAside(damages) }
        }
        if !whole.isEmpty { writeBack(whole) }
    }

    /// Writes the file system back on another thread and then takes the marks away; one such job at a time does it for
    /// all layers that have come meanwhile.
    private func writeBack(_ layers: [Digest]) {
        let marks = layers.compactMap { layer in inode(Self.markPath(layerPath(layer))).map { (layer, $0) } }
        let isFirst = withWriteBack { state in
            state.waiting += marks
            defer { state.isRunning = true }
            return !state.isRunning
        }
        guard isFirst else { return }
        DispatchQueue.global(qos: .utility).async {
            while let marks = self.nextWriteBack() {
                // When it fails the marks stay, and the layers are read again at the next start.
                guard let directory = try? FileDescriptor.directory(self.root),
                    self.disk.syncFileSystem(directory.raw) == 0
                else { continue }
                for (layer, mark) in marks {
                    // Not that of another layer directory of the same name, which has come since.
                    self.whileNothingIsRemoved {
                        let path = Self.markPath(self.layerPath(layer))
                        if inode(path) == mark { _ = self.disk.unlink(path) }
                    }
                }
            }
        }
    }

    private func nextWriteBack() -> [(Digest, UInt64)]? {
        withWriteBack { state in
            defer { state.waiting = [] }
            guard state.waiting.isEmpty else { return state.waiting }
            state.isRunning = false
            return nil
        }
    }

    private func bootID() -> [UInt8]? {
        guard let file = try? FileDescriptor.open("/proc/sys/kernel/random/boot_id", O_RDONLY) else { return nil }
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 1)
        defer { bytes.deallocate() }
        guard let count = try? file.read(into: bytes, at: 0, "boot_id"), count > 0 else { return nil }
        return Array(bytes[..<count])
    }
}

/// Layers whose write-back is due.
struct WriteBack {
    /// With the inode of the mark.
    var waiting: [(Digest, UInt64)] = []
    var isRunning = false
}

/// The inode of a path of ours; nil when there is none.
private func inode(_ path: String) -> UInt64? {
    var status = stat()
    return lstat(path, &status) == 0 ? UInt64(status.st_ino) : nil
}
