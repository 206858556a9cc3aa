internal import Glibc
package import OCI

/// A blob on disk whose bytes are not those that its name stands for.
package struct BlobDamage: Sendable, Hashable, CustomStringConvertible {
    package let digest: Digest
    /// The blob's file.
    package let path: String
    /// Bytes that the file has.
    package let size: Int64
    /// Digest of these bytes.
    package let actual: Digest

    package var description: String { "blob \(digest): \(path): its \(size) bytes have digest \(actual)" }
}

extension BlobReader {
    /// Bytes a read: large enough for the hash to run at the speed of memory.
    private static let hashedBytes = 512 << 10

    /// Reads and hashes all of the blob again, whatever was read before; nil when it is what its name says.
    ///
    /// Blocks until all is read.
    ///
    /// - Throws: `.system` when the disk cannot be read.
    package func damage() throws(ContentStoreError) -> BlobDamage? {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.hashedBytes, alignment: 64)
        defer { buffer.deallocate() }
        var hasher = DigestHasher()
        var offset: Int64 = 0
        while true {
            let count = try read(into: buffer, at: offset)
            if count == 0 { break }
            hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            offset += Int64(count)
        }
        let actual = hasher.finish()
        return actual == digest ? nil : BlobDamage(digest: digest, path: path, size: offset, actual: actual)
    }
}

extension ContentStore {
    /// Deletes the blob that `reader` has open, unless another file has got its name since; harmless when it is not
    /// there.
    package func delete(_ reader: BlobReader) throws(ContentStoreError) {
        let path = reader.path
        var (opened, named) = (stat(), stat())
        guard fstat(reader.descriptor, &opened) == 0 else { throw .last("fstat", path) }
        guard stat(path, &named) == 0 else {
            if errno == ENOENT { return }
            throw .last("stat", path)
        }
        guard opened.st_dev == named.st_dev, opened.st_ino == named.st_ino else { return }
        try delete(reader.digest)
    }
}
