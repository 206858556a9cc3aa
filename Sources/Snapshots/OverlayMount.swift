internal import CLinux
internal import Glibc

/// Mounts and unmounts overlays.
enum OverlayMount {
    /// Mounts at `target`.
    ///
    /// All paths but `base` are relative to it; `lowers` has the uppermost first.
    static func mount(
        base: String, lowers: [String], upper: String?, work: String?, target: String, links: String
    ) throws(SnapshotError) {
        var strings: [UnsafeMutablePointer<CChar>?] = []
        defer { for string in strings { free(string) } }
        func copy(_ text: String?) -> UnsafePointer<CChar>? {
            guard let text else { return nil }
            let copied = strdup(text)
            strings.append(copied)
            return UnsafePointer(copied)
        }
        let lowerPointers = lowers.map(copy)
        var stage: UnsafePointer<CChar>?
        let code = lowerPointers.withUnsafeBufferPointer { pointers in
            var overlay = linux_overlay(
                base: copy(base), lowers: pointers.baseAddress, lower_count: pointers.count, upper: copy(upper),
                work: copy(work), target: copy(target), links: copy(links))
            return linux_mount_overlay(&overlay, &stage)
        }
        guard code == 0 else {
            let call = stage.map { String(cString: $0) } ?? "mount"
            throw .failed("overlay \(call)", base + "/" + target, code: code)
        }
    }

    /// Unmounts, lazily when someone is still inside.
    static func unmount(_ path: String) throws(SnapshotError) {
        let code = path.withCString { linux_unmount($0) }
        guard code == 0 || code == EINVAL || code == ENOENT else { throw .failed("umount2", path, code: code) }
    }
}
