internal import Glibc
package import OCI
internal import Synchronization

/// Blobs on disk by digest.
///
/// A blob is there whole, verified and durable, or not at all.
///
/// Layout: `blobs/sha256/<hex>`, and `ingest/<number>` for what is being written. Thread-safe; one process a root.
package final class ContentStore: Sendable {
    package let root: String
    let disk: DiskCalls
    private let ingests = Atomic<UInt64>(0)

    /// Opens the store below `root`, makes its directories and removes what a crash left half-written.
    package init(root: String, disk: DiskCalls = .system) throws(ContentStoreError) {
        self.root = root
        self.disk = disk
        for path in [root, root + "/blobs", root + "/blobs/sha256", root + "/ingest"] {
            guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw .last("mkdir", path) }
        }
        for name in try Self.names(in: root + "/ingest") { unlink(root + "/ingest/" + name) }
    }

    /// Opens the store below `root` to read it while another process may use it: nothing is removed or made.
    package init(reading root: String) {
        self.root = root
        disk = .system
    }

    package func path(of digest: Digest) -> String { root + "/blobs/sha256/" + digest.hex }

    package func contains(_ digest: Digest) -> Bool { access(path(of: digest), F_OK) == 0 }

    /// Length in bytes.
    ///
    /// - Throws: `.notFound`.
    package func size(of digest: Digest) throws(ContentStoreError) -> Int64 {
        var status = stat()
        guard stat(path(of: digest), &status) == 0 else {
            throw errno == ENOENT ? .notFound(digest) : .last("stat", path(of: digest))
        }
        return Int64(status.st_size)
    }

    /// Starts a blob.
    ///
    /// Nothing of it is seen before `BlobWriter.commit`; dropping the writer drops the bytes.
    package func ingest() throws(ContentStoreError) -> BlobWriter {
        let number = ingests.add(1, ordering: .relaxed).newValue
        return try BlobWriter(store: self, path: root + "/ingest/\(number)")
    }

    /// Stores bytes that are at hand.
    ///
    /// - Throws: `.wrongContent` when `expected` is given and is not their digest.
    @discardableResult
    package func put(_ bytes: [UInt8], expected: Digest? = nil) throws(ContentStoreError) -> Digest {
        let writer = try ingest()
        try writer.write(bytes)
        return try writer.commit(expected: expected)
    }

    /// Opens a blob for reading; it can be read to its end even if it is deleted meanwhile.
    package func reader(of digest: Digest) throws(ContentStoreError) -> BlobReader {
        try BlobReader(path: path(of: digest), digest: digest)
    }

    /// The whole blob, for manifests and configurations.
    ///
    /// - Throws: `.tooLarge` when it has more than `maximum` bytes, before anything is allocated.
    package func read(_ digest: Digest, maximum: Int64 = 64 << 20) throws(ContentStoreError) -> [UInt8] {
        let reader = try reader(of: digest)
        guard reader.size <= maximum else { throw .tooLarge(digest, size: reader.size, maximum: maximum) }
        return try reader.bytes(at: 0, count: Int(reader.size))
    }

    /// Deletes a blob; harmless when it is not there.
    package func delete(_ digest: Digest) throws(ContentStoreError) {
        guard unlink(path(of: digest)) == 0 || errno == ENOENT else { throw .last("unlink", path(of: digest)) }
    }

    /// All blobs, in digest order.
    package func list() throws(ContentStoreError) -> [Digest] {
        try Self.names(in: root + "/blobs/sha256").compactMap { Digest(hex: $0) }.sorted()
    }

    /// Moves a verified, synced file into place and makes the name durable.
    func adopt(_ file: String, as digest: Digest) throws(ContentStoreError) {
        let target = path(of: digest)
        // A second writer of the same blob replaces equal bytes: readers of the first keep their inode.
        guard disk.rename(file, target) == 0 else { throw .last("rename", target) }
        let directory = open(root + "/blobs/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw .last("open", root + "/blobs/sha256") }
        defer { close(directory) }
        guard disk.sync(directory) == 0 else { throw .last("fsync", root + "/blobs/sha256") }
    }

    private static func names(in path: String) throws(ContentStoreError) -> [String] {
        guard let directory = opendir(path) else { throw .last("opendir", path) }
        defer { closedir(directory) }
        var names: [String] = []
        while let record = readdir(directory) {
            let name = withUnsafeBytes(of: record.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
