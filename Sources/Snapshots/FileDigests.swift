internal import Glibc
internal import Transfer

/// Contents of files by what tells that a file is still the same: inode, size and both times.
package struct FileDigests: Sendable {
    struct Stamp: Hashable, Sendable {
        var device: UInt64
        var inode: UInt64
        var size: Int64
        var modified: [Int]
        var changed: [Int]

        init(_ status: stat) {
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
            size = Int64(status.st_size)
            modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
            changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
        }
    }

    private var digests: [Stamp: ChunkedContent] = [:]

    package init() {}

    package var count: Int { digests.count }

    subscript(stamp: Stamp) -> ChunkedContent? {
        get { digests[stamp] }
        set { digests[stamp] = newValue }
    }
}
