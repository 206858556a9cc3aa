internal import Glibc
internal import OCI
internal import Synchronization
internal import Transfer

/// A layer that comes from a peer, in a staging directory.
///
/// Dropping it removes what has come.
final class PulledLayer: Sendable {
    private struct State: ~Copyable {
        var builder: LayerMaterializer
        /// The file that is being written, -1 between two.
        var file: Int32 = -1
        var writer = SparseWriter()
        deinit { if file >= 0 { close(file) } }
    }

    let manifest: LayerManifest
    let staging: String
    /// Entries whose content has to come: of equal files the first.
    let wanted: [Int]
    /// Entries that are copies of a wanted one.
    private let copies: [(entry: Int, of: Int)]
    private let state: Mutex<State>

    init(_ manifest: LayerManifest, staging: String) throws(SnapshotError) {
        self.manifest = manifest
        self.staging = staging
        var firsts: [Digest: Int] = [:]
        var wanted: [Int] = []
        var copies: [(entry: Int, of: Int)] = []
        var empty: [Int] = []
        for (index, entry) in manifest.entries.enumerated() {
            guard case .file(let size, let content) = entry.kind else { continue }
            if size == 0 {
                empty.append(index)
            } else if let first = firsts[content] {
                copies.append((index, first))
            } else {
                firsts[content] = index
                wanted.append(index)
            }
        }
        self.wanted = wanted
        self.copies = copies
        do throws(SnapshotError) {
            var builder = try LayerMaterializer(manifest, at: staging + "/layer/fs")
            try builder.makeDirectories()
            for index in empty { _ = try builder.makeFile(manifest.entries[index]) }
            state = Mutex(State(builder: builder))
        } catch {
            removeTree(staging)
            throw error
        }
    }

    deinit { removeTree(staging) }

    func write(_ bytes: ArraySlice<UInt8>, at offset: Int64, of index: Int) throws(SnapshotError) {
        let entry = manifest.entries[index]
        try state.withLock { state throws(SnapshotError) in
            if state.file < 0 {
                state.file = try state.builder.makeFile(entry).release()
                state.writer = SparseWriter()
            }
            let file = state.file
            var writer = state.writer
            let result = bytes.withUnsafeBytes { raw in
                Result { () throws(SnapshotError) in try writer.write(raw, at: offset, to: file, entry.displayPath) }
            }
            state.writer = writer
            try result.get()
        }
    }

    func complete(_ index: Int) throws(SnapshotError) {
        let entry = manifest.entries[index]
        guard case .file(let size, _) = entry.kind else { return }
        try state.withLock { state throws(SnapshotError) in
            try state.writer.finish(size: size, state.file, entry.displayPath)
            close(state.file)
            state.file = -1
        }
    }

    /// Makes all that has no content of its own and sets all metadata.
    func finish() throws(SnapshotError) {
        try state.withLock { state throws(SnapshotError) in
            let root = try FileDescriptor.directory(staging + "/layer/fs")
            for (index, first) in copies {
                let entry = manifest.entries[index]
                guard case .file(let size, _) = entry.kind else { continue }
                let from = try root.file(beneath: manifest.entries[first].path, O_RDONLY)
                try FileContent.copy(from: from, to: state.builder.makeFile(entry), size: size, entry.path)
            }
            try state.builder.finish()
        }
    }
}
