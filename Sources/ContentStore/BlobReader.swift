internal import Glibc
package import OCI
internal import Synchronization

/// An open blob: random access, and a cursor for reading it through.
package final class BlobReader: ByteSource, Sendable {
    package let digest: Digest
    package let size: Int64
    let path: String
    let descriptor: Int32
    private let position = Mutex<Int64>(0)

    init(path: String, digest: Digest) throws(ContentStoreError) {
        let opened = open(path, O_RDONLY | O_CLOEXEC)
        guard opened >= 0 else { throw errno == ENOENT ? .notFound(digest) : .last("open", path) }
        var status = stat()
        guard fstat(opened, &status) == 0 else {
            let error = ContentStoreError.last("fstat", path)
            close(opened)
            throw error
        }
        self.path = path
        descriptor = opened
        size = Int64(status.st_size)
        self.digest = digest
    }

    deinit { close(descriptor) }

    /// Reads into `buffer` from `offset`; returns how many bytes, 0 at the end.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(ContentStoreError) -> Int {
        while true {
            let count = pread(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .last("pread", "blob \(digest)") }
            return count
        }
    }

    /// Up to `count` bytes from `offset`, fewer only at the end.
    package func bytes(at offset: Int64, count: Int) throws(ContentStoreError) -> [UInt8] {
        let wanted = Int(max(0, min(Int64(count), size - offset)))
        var failure: ContentStoreError?
        let bytes = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, filled in
            while filled < wanted {
                let rest = UnsafeMutableRawBufferPointer(
                    rebasing: UnsafeMutableRawBufferPointer(buffer)[filled..<wanted])
                do throws(ContentStoreError) {
                    let count = try read(into: rest, at: offset + Int64(filled))
                    if count == 0 { break }
                    filled += count
                } catch {
                    failure = error
                    break
                }
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Reads on from where the last `read(into:)` ended.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        try position.withLock { position in
            let count = try read(into: buffer, at: position)
            position += Int64(count)
            return count
        }
    }
}
