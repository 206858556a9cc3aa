internal import Glibc
package import OCI
internal import Transfer

extension SnapshotStore {
    /// Writes the layer as an OCI layer archive, uncompressed.
    ///
    /// The same layer gives the same bytes on every node.
    ///
    /// - Returns: the diff id, digest of all that was written.
    /// - Throws: what `sink` throws; `SnapshotError`.
    package func exportTar(_ layer: Digest, to sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Digest {
        try pin([layer])
        defer { unpin([layer]) }
        let manifest = try manifest(of: layer)
        let root = try FileDescriptor.directory(contentPath(of: layer))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: FileContent.bufferBytes, alignment: 4_096)
        defer { buffer.deallocate() }
        var hasher = DigestHasher()
        func write(_ bytes: UnsafeRawBufferPointer) throws {
            hasher.update(bytes)
            try sink(bytes)
        }
        for entry in Self.archiveOrder(manifest) {
            for member in members(of: entry) { try member.withUnsafeBytes { try write($0) } }
            guard case .file(let size, _) = entry.kind else { continue }
            let file = try root.file(beneath: entry.path, O_RDONLY)
            var position: Int64 = 0
            while position < size {
                let wanted = Int(min(Int64(buffer.count), size - position))
                let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
                let count = try file.read(into: rest, at: position, entry.displayPath)
                guard count > 0 else { throw SnapshotError.corruptLayer(layer, "\(entry.displayPath) is too short") }
                try write(UnsafeRawBufferPointer(rebasing: rest[..<count]))
                position += Int64(count)
            }
            try TarWriter.padding(size).withUnsafeBytes { if !$0.isEmpty { try write($0) } }
        }
        try TarWriter.endMark.withUnsafeBytes { try write($0) }
        return hasher.finish()
    }

    /// Entries with each directory's content right behind it: GNU tar sets a directory's time when it leaves it.
    ///
    /// In the byte order of paths `a-b` comes between `a` and `a/c`, so that another name of an inode can come first here:
    /// that one is then the file and the others are links to it.
    private static func archiveOrder(_ manifest: LayerManifest) -> [LayerEntry] {
        let slash = UInt8(ascii: "/")
        var entries = manifest.entries.sorted { left, right in
            left.path.lexicographicallyPrecedes(right.path) { ($0 == slash ? 0 : $0) < ($1 == slash ? 0 : $1) }
        }
        var firsts: [[UInt8]: [UInt8]] = [:]
        let linked = Set(
            entries.compactMap { entry -> [UInt8]? in
                if case .hardlink(let target) = entry.kind { target } else { nil }
            })
        for index in entries.indices {
            let path = entries[index].path
            var group = path
            if case .hardlink(let target) = entries[index].kind { group = target }
            guard linked.contains(group) else { continue }
            if let first = firsts[group] {
                entries[index].kind = .hardlink(target: first)
            } else {
                firsts[group] = path
                if let file = manifest.entry(at: group) { entries[index].kind = file.kind }
            }
        }
        return entries
    }

    /// The headers of an entry: one, and a second for an opaque directory.
    private func members(of entry: LayerEntry) -> [[UInt8]] {
        let slash = [UInt8(ascii: "/")]
        switch entry.kind {
        case .directory(let isOpaque):
            let name = entry.path.isEmpty ? Array("./".utf8) : entry.path + slash
            let header = TarWriter.header(entry, name: name, type: TarEntry.Kind.directory.rawValue, size: 0)
            guard isOpaque else { return [header] }
            return [header, whiteout(entry.path + slash + Array(".wh..wh..opq".utf8))]
        case .whiteout:
            let (parent, name) = split(entry.path)
            return [whiteout((parent.isEmpty ? [] : parent + slash) + Array(".wh.".utf8) + name)]
        case .file(let size, _):
            return [TarWriter.header(entry, name: entry.path, type: TarEntry.Kind.file.rawValue, size: size)]
        case .hardlink(let target):
            return [
                TarWriter.header(
                    entry, name: entry.path, linkName: target, type: TarEntry.Kind.hardlink.rawValue, size: 0)
            ]
        case .symlink(let target):
            return [
                TarWriter.header(
                    entry, name: entry.path, linkName: target, type: TarEntry.Kind.symlink.rawValue, size: 0)
            ]
        case .characterDevice:
            return [TarWriter.header(entry, name: entry.path, type: TarEntry.Kind.characterDevice.rawValue, size: 0)]
        case .blockDevice:
            return [TarWriter.header(entry, name: entry.path, type: TarEntry.Kind.blockDevice.rawValue, size: 0)]
        case .fifo: return [TarWriter.header(entry, name: entry.path, type: TarEntry.Kind.fifo.rawValue, size: 0)]
        }
    }

    private func whiteout(_ name: [UInt8]) -> [UInt8] {
        let entry = LayerEntry(path: [], mode: 0, kind: .fifo)
        return TarWriter.header(entry, name: name, type: TarEntry.Kind.file.rawValue, size: 0)
    }
}
