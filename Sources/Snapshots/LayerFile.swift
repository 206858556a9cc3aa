internal import Glibc
internal import Transfer

/// An open file of a layer that is being served; reading it does not move anything, so that it can cross suspensions.
final class LayerFile: Sendable {
    private let raw: Int32
    private let entry: LayerEntry
    private let size: Int64

    init(root: String, entry: LayerEntry, size: Int64) throws(SnapshotError) {
        raw = try FileDescriptor.directory(root).file(beneath: entry.path, O_RDONLY).release()
        self.entry = entry
        self.size = size
    }

    deinit { close(raw) }

    /// The next stretch of data at or after `position`; empty at the end of the file when only a hole follows.
    func nextData(from position: Int64) throws(SnapshotError) -> Range<Int64> {
        try FileContent.nextData(of: raw, from: position, size: size, entry.path)
    }

    /// Up to `count` bytes at `position`, one at least.
    func bytes(at position: Int64, count: Int) throws(SnapshotError) -> [UInt8] {
        var code: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            var result = 0
            repeat {
                result = pread(raw, buffer.baseAddress, count, off_t(position))
            } while result < 0 && errno == EINTR
            code = result < 0 ? errno : 0
            filled = max(0, result)
        }
        guard code == 0 else { throw .failed("pread", entry.displayPath, code: code) }
        guard !bytes.isEmpty else { throw .unsupported(path: entry.displayPath, "it is shorter than its layer says") }
        return bytes
    }
}
