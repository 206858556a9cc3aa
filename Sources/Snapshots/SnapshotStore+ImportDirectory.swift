internal import ClusterModel
internal import Glibc
internal import OCI
internal import Transfer

extension SnapshotStore {
    /// Makes a layer of a directory whose files are only ever replaced, never written to in place.
    ///
    /// Files are hard-linked where the file system is the same, so that an import costs no copy; sockets are left out, and
    /// so is the root directory's own metadata.
    /// With the `digests` of an earlier import as `previous`, what did not change since is not read. `filter` says whether a
    /// path belongs to the layer; a directory that does not is not entered.
    package func importDirectory(
        _ path: String, previous: FileDigests? = nil,
        including filter: ((_ path: [UInt8], _ isDirectory: Bool) -> Bool)? = nil
    ) throws -> DirectoryImport {
        let source = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        var scanner = TreeScanner(form: .plain)
        scanner.filter = filter
        scanner.known = previous ?? FileDigests()
        try scanner.scan(source)
        let manifest = try layerManifest(scanner.entries.filter { !$0.path.isEmpty })
        let descriptor = LayerDescriptor(id: manifest.id, bytes: manifest.contentBytes)
        guard !contains(manifest.id) else {
            remember(manifest)
            return DirectoryImport(layer: descriptor, digests: scanner.digests, filesRead: scanner.filesRead)
        }
        let staging = try makeStaging()
        defer { removeTree(staging) }
        var digests = scanner.digests
        var linked: Set<[UInt8]> = []
        var builder = try LayerMaterializer(manifest, at: staging + "/layer/fs")
        try builder.makeDirectories()
        for entry in manifest.entries {
            guard case .file(let size, let content) = entry.kind else { continue }
            let parent = try source.directory(beneath: split(entry.path).parent)
            do throws(SnapshotError) {
                try builder.link(parent, entry.path, as: entry)
                linked.insert(entry.path)
                // The link has changed the inode's ctime: remember it as it is now.
                var status = stat()
                let raw = parent.raw
                guard withCPath(split(entry.path).name, { fstatat(raw, $0, &status, AT_SYMLINK_NOFOLLOW) }) == 0 else {
                    throw .last("fstatat", entry.displayPath)
                }
                digests[FileDigests.Stamp(status)] = content
            } catch {
                guard error.forbidsLink else { throw error }
                try copy(entry, size: size, from: parent, to: &builder)
            }
        }
        try builder.finish { linked.contains(manifest.entries[$0].path) }
        try seal(staging + "/layer", as: manifest)
        return DirectoryImport(layer: descriptor, digests: digests, filesRead: scanner.filesRead)
    }

    /// Copies a file's content into the layer that is being built.
    func copy(
        _ entry: LayerEntry, size: Int64, from parent: borrowing FileDescriptor, to builder: inout LayerMaterializer
    ) throws(SnapshotError) {
        let from = try parent.file(beneath: split(entry.path).name, O_RDONLY | O_NONBLOCK)
        let to = try builder.makeFile(entry)
        try FileContent.copy(from: from, to: to, size: size, entry.path)
    }
}
