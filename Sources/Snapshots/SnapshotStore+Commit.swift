internal import CLinux
package import ClusterModel
internal import ContentStore
internal import Glibc
internal import OCI
internal import Transfer

extension SnapshotStore {
    /// Up to so many files are synced one by one; for more, writing back the file system as a whole is cheaper.
    static let filesSyncedSinglyMax = 32

    /// Turns what was written to `work` into a layer, durable when this returns, and ends the snapshot.
    ///
    /// The root directory belongs to the layer when its mode, owner or attributes were changed; its time alone does not
    /// count. Sockets are dropped.
    /// - Returns: nil when nothing was changed.
    /// - Throws: `SnapshotError`; the snapshot is gone then too.
    package func commit(_ work: WorkSnapshot) throws -> LayerDescriptor? {
        precondition(work.close(), "a snapshot was committed twice or after it was discarded")
        defer {
            removeTree(work.directory)
            unpin(work.pinned)
        }
        try OverlayMount.unmount(work.path)
        let upper = try FileDescriptor.directory(work.upperPath)
        var scanner = TreeScanner(form: .overlayUpper)
        try scanner.scan(upper)
        var entries = scanner.entries
        let rootEntry = entries.removeLast()
        let lowers = try work.chain.layers.map { try self.manifest(of: $0.id) }
        try settleSockets(scanner.sockets, &entries, upper, over: lowers)
        try settleOpaqueMarks(&entries, upper, over: lowers)
        try dropUnchangedDirectories(&entries, upper, over: lowers)
        var comparable = work.rootEntry
        comparable.modified = rootEntry.modified
        if comparable == rootEntry {
            try LayerMaterializer.setMetadata(ofRoot: work.upperPath, to: work.rootEntry)
        } else {
            entries.append(
                LayerEntry(
                    path: [], mode: rootEntry.mode, uid: rootEntry.uid, gid: rootEntry.gid,
                    modified: rootEntry.modified, attributes: rootEntry.attributes, kind: .directory(isOpaque: false)))
        }
        guard !entries.isEmpty else { return nil }
        let manifest = try layerManifest(entries)
        try seal(work.directory + "/layer", as: manifest)
        return LayerDescriptor(id: manifest.id, bytes: manifest.contentBytes)
    }

    /// Writes the manifest beside `fs` in `directory`, makes all durable and moves it into place.
    func seal(_ directory: String, as manifest: LayerManifest) throws(SnapshotError) {
        guard !contains(manifest.id) else {
            removeTree(directory)
            remember(manifest)
            return
        }
        try writeManifest(manifest, to: directory + "/manifest")
        try ChunkIndexFile.write(ChunkTable(manifest), to: directory + "/chunks")
        try sync(directory, manifest)
        try publish(directory, as: manifest.id)
        remember(manifest)
    }

    func writeManifest(_ manifest: LayerManifest, to path: String) throws(SnapshotError) {
        let file = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        let written = manifest.encoded().withUnsafeBytes { bytes in
            Result { () throws(SnapshotError) in try file.write(bytes, path) }
        }
        try written.get()
    }

    /// Whether so little is to be synced that it is not worth writing back the whole file system.
    static func isSyncedSingly(_ manifest: LayerManifest) -> Bool {
        var synced = 0
        for entry in manifest.entries {
            switch entry.kind {
            case .file, .directory: synced += 1
            default: continue
            }
            if synced > filesSyncedSinglyMax { return false }
        }
        return true
    }

    /// Makes a layer's directory durable.
    func sync(_ directory: String, _ manifest: LayerManifest) throws(SnapshotError) {
        let file = try FileDescriptor.open(directory + "/manifest", O_RDONLY)
        guard Self.isSyncedSingly(manifest) else {
            guard disk.syncFileSystem(file.raw) == 0 else { throw .last("syncfs", directory) }
            return
        }
        let content = try FileDescriptor.directory(directory + "/fs")
        // Blocks are allocated now, all in one transaction; a failure shows in fsync. Measured on ext4: 3.8 ms a commit.
        for entry in manifest.entries {
            guard case .file = entry.kind else { continue }
            _ = linux_start_writeback(try content.file(beneath: entry.path, O_RDONLY | O_NONBLOCK).raw)
        }
        _ = linux_start_writeback(file.raw)
        for entry in manifest.entries where !entry.path.isEmpty {
            switch entry.kind {
            case .file: try content.file(beneath: entry.path, O_RDONLY | O_NONBLOCK).sync(entry.displayPath, disk)
            case .directory: try content.directory(beneath: entry.path).sync(entry.displayPath, disk)
            default: continue
            }
        }
        try content.sync(directory + "/fs", disk)
        try file.sync(directory + "/manifest", disk)
        try syncDirectory(directory, disk)
    }

    /// Removes sockets from the disk; one that hides something below becomes a whiteout.
    private func settleSockets(
        _ sockets: [[UInt8]], _ entries: inout [LayerEntry], _ upper: borrowing FileDescriptor,
        over lowers: [LayerManifest]
    ) throws(SnapshotError) {
        for path in sockets {
            let (parent, name) = split(path)
            let directory = try upper.directory(beneath: parent)
            let descriptor = directory.raw
            guard withCPath(name, { unlinkat(descriptor, $0, 0) }) == 0 else { throw .last("unlinkat", display(path)) }
            guard Self.visible(path, in: lowers[...]) != nil else { continue }
            guard withCPath(name, { mknodat(descriptor, $0, S_IFCHR, 0) }) == 0 else {
                throw .last("mknodat", display(path))
            }
            entries.append(.whiteout(path))
        }
    }

    /// Takes the opaque mark from directories that hide no directory: overlayfs sets it on each that it makes where
    /// something was deleted, and equal trees shall be equal layers.
    private func settleOpaqueMarks(
        _ entries: inout [LayerEntry], _ upper: borrowing FileDescriptor, over lowers: [LayerManifest]
    ) throws(SnapshotError) {
        for index in entries.indices where entries[index].kind == .directory(isOpaque: true) {
            let entry = entries[index]
            guard Self.visible(entry.path, in: lowers[...])?.isDirectory != true else { continue }
            entries[index].kind = .directory(isOpaque: false)
            let (parent, name) = split(entry.path)
            let directory = try upper.directory(beneath: parent)
            try ExtendedAttributes.remove(
                ExtendedAttributes.opaqueName, at: directory.procPath(name), entry.displayPath)
        }
    }

    /// Drops directories that overlayfs copied up without need: nothing in them and all as it was below.
    private func dropUnchangedDirectories(
        _ entries: inout [LayerEntry], _ upper: borrowing FileDescriptor, over lowers: [LayerManifest]
    ) throws(SnapshotError) {
        guard !lowers.isEmpty else { return }
        var parents: [ArraySlice<UInt8>: Int] = [:]
        for entry in entries { parents[split(entry.path).parent, default: 0] += 1 }
        // Children are after their parents in path order.
        entries.sort { $0.path.lexicographicallyPrecedes($1.path) }
        var dropped: Set<[UInt8]> = []
        for entry in entries.reversed() {
            guard entry.kind == .directory(isOpaque: false), parents[entry.path[...], default: 0] == 0,
                var lower = Self.visible(entry.path, in: lowers[...]), lower.isDirectory
            else { continue }
            lower.kind = entry.kind
            guard lower == entry else { continue }
            let (parent, name) = split(entry.path)
            let descriptor = try upper.directory(beneath: parent)
            let raw = descriptor.raw
            guard withCPath(name, { unlinkat(raw, $0, AT_REMOVEDIR) }) == 0 else {
                throw .last("unlinkat", entry.displayPath)
            }
            parents[parent, default: 1] -= 1
            dropped.insert(entry.path)
        }
        guard !dropped.isEmpty else { return }
        entries.removeAll { dropped.contains($0.path) }
        // Removing a directory touched its parent's time.
        for entry in entries where entry.isDirectory && dropped.contains(where: { split($0).parent == entry.path[...] })
        {
            try LayerMaterializer.setTimes(of: entry, beneath: upper)
        }
    }

    /// What `lowers`, lowest first, show at `path`; nil when nothing.
    static func visible(_ path: [UInt8], in lowers: ArraySlice<LayerManifest>) -> LayerEntry? {
        for layer in lowers.reversed() {
            if let entry = layer.entry(at: path) { return entry.isWhiteout ? nil : entry }
            var parent = split(path).parent
            while !parent.isEmpty {
                if let entry = layer.entry(at: parent), entry.kind != .directory(isOpaque: false) { return nil }
                parent = split(parent).parent
            }
        }
        return nil
    }
}

/// Parent and last component of a relative path.
func split(_ path: some Collection<UInt8>) -> (parent: ArraySlice<UInt8>, name: ArraySlice<UInt8>) {
    let bytes = [UInt8](path)
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return ([], bytes[...]) }
    return (bytes[..<slash], bytes[(slash + 1)...])
}

/// A checked manifest, with the error of this module.
func layerManifest(_ entries: [LayerEntry]) throws(SnapshotError) -> LayerManifest {
    do throws(ManifestError) { return try LayerManifest(entries: entries) } catch { throw .manifest(error) }
}
