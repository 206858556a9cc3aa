internal import Glibc

/// Writes a file from front to back and leaves out stretches of zeros, which become holes.
struct SparseWriter {
    /// Holes are made in units of this, so that a file with scattered zeros stays in few extents.
    private static let unit: Int64 = 64 << 10

    private(set) var position: Int64 = 0

    /// Writes `bytes` at `offset`, which is not before the end of what was written so far.
    mutating func write(
        _ bytes: UnsafeRawBufferPointer, at offset: Int64, to file: Int32,
        _ path: @autoclosure () -> String
    ) throws(SnapshotError) {
        var done = 0
        while done < bytes.count {
            let start = offset + Int64(done)
            let count = min(bytes.count - done, Int(Self.unit - start % Self.unit))
            let piece = UnsafeRawBufferPointer(rebasing: bytes[done..<done + count])
            if Int64(count) < Self.unit || !Self.isZero(piece) { try Self.writeAll(piece, at: start, to: file, path()) }
            done += count
        }
        position = offset + Int64(bytes.count)
    }

    /// Gives the file its length, when it ends in a hole.
    func finish(size: Int64, _ file: Int32, _ path: @autoclosure () -> String) throws(SnapshotError) {
        guard ftruncate(file, off_t(size)) == 0 else { throw .last("ftruncate", path()) }
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return true }
        // Equal to itself one byte on, and the first is zero: all are.
        return bytes[0] == 0 && memcmp(base, base + 1, bytes.count - 1) == 0
    }

    private static func writeAll(
        _ bytes: UnsafeRawBufferPointer, at offset: Int64, to file: Int32,
        _ path: @autoclosure () -> String
    ) throws(SnapshotError) {
        var done = 0
        while done < bytes.count {
            let count = pwrite(file, bytes.baseAddress?.advanced(by: done), bytes.count - done, off_t(offset) + done)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .last("pwrite", path()) }
            done += count
        }
    }
}
