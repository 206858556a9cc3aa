internal import CLinux
internal import Glibc
internal import OCI
internal import Transfer

/// Reads files piece by piece, without touching holes.
enum FileContent {
    /// Bytes a read: large enough for the hash to run at the speed of memory.
    static let bufferBytes = 512 << 10

    /// The content of a file of `size` bytes, cut into chunks and hashed in one pass.
    ///
    /// - Throws: `.unsupported` when it has another size, since someone writes to it.
    static func chunked(
        _ file: borrowing FileDescriptor, size: Int64, _ path: [UInt8],
        hashing hashRanges: @escaping ContentCutter.HashRanges = ContentCutter.hash
    ) throws(SnapshotError) -> ChunkedContent {
        var cutter = ContentCutter(size: size, hashRanges: hashRanges)
        var position: Int64 = 0
        while position < size {
            let data = try nextData(of: file.raw, from: position, size: size, path)
            cutter.update(zeros: data.lowerBound - position)
            position = data.lowerBound
            while position < data.upperBound {
                let room = cutter.room
                let wanted = Int(min(Int64(room.count), data.upperBound - position))
                let count = try file.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: room[..<wanted]), at: position, display(path))
                guard count > 0 else { throw .unsupported(path: display(path), "it became shorter while being read") }
                cutter.advance(by: count)
                position += Int64(count)
            }
        }
        return cutter.finish()
    }

    /// The next stretch of data at or after `position`; empty at `size` when only a hole follows.
    static func nextData(
        of file: Int32, from position: Int64, size: Int64, _ path: [UInt8]
    ) throws(SnapshotError) -> Range<Int64> {
        let start = linux_seek_data(file, off_t(position))
        if start < 0 {
            if errno == ENXIO { return size..<size }
            // A file system without holes.
            if errno == EINVAL || errno == EOPNOTSUPP { return position..<size }
            throw .last("lseek", display(path))
        }
        guard Int64(start) < size else { return size..<size }
        let end = linux_seek_hole(file, start)
        guard end >= 0 else { throw .last("lseek", display(path)) }
        return Int64(start)..<min(size, max(Int64(end), Int64(start) + 1))
    }

    /// Copies `size` bytes by reference where the file system can, else all but the holes.
    static func copy(
        from source: borrowing FileDescriptor, to target: borrowing FileDescriptor, size: Int64, _ path: [UInt8]
    ) throws(SnapshotError) {
        if linux_clone_file(source.raw, target.raw) == 0 { return }
        var position: Int64 = 0
        while position < size {
            let data = try nextData(of: source.raw, from: position, size: size, path)
            position = data.lowerBound
            while position < data.upperBound {
                var from = off_t(position)
                var to = off_t(position)
                let count = linux_copy_file_range(source.raw, &from, target.raw, &to, Int(data.upperBound - position))
                if count < 0, errno == EINTR { continue }
                // Between two file systems of different types.
                if count < 0, errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP {
                    try copyBytes(from: source, to: target, data, path)
                    position = data.upperBound
                    continue
                }
                guard count >= 0 else { throw .last("copy_file_range", display(path)) }
                guard count > 0 else { throw .unsupported(path: display(path), "it became shorter while being read") }
                position += Int64(count)
            }
        }
        guard ftruncate(target.raw, off_t(size)) == 0 else { throw .last("ftruncate", display(path)) }
    }

    private static func copyBytes(
        from source: borrowing FileDescriptor, to target: borrowing FileDescriptor, _ range: Range<Int64>,
        _ path: [UInt8]
    ) throws(SnapshotError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 4_096)
        defer { buffer.deallocate() }
        var writer = SparseWriter()
        var position = range.lowerBound
        while position < range.upperBound {
            let wanted = Int(min(Int64(buffer.count), range.upperBound - position))
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            let count = try source.read(into: rest, at: position, display(path))
            guard count > 0 else { throw .unsupported(path: display(path), "it became shorter while being read") }
            let piece = UnsafeRawBufferPointer(rebasing: rest[..<count])
            try writer.write(piece, at: position, to: target.raw, display(path))
            position += Int64(count)
        }
    }
}
