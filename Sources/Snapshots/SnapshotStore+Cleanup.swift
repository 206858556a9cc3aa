internal import CLinux
internal import Glibc

extension SnapshotStore {
    /// Makes the directories and removes what a process that was killed left in them.
    static func clean(_ root: String) throws(SnapshotError) {
        for mount in try mounts(below: root) {
            let code = mount.withCString { linux_unmount($0) }
            guard code == 0 || code == EINVAL || code == ENOENT else { throw .failed("umount2", mount, code: code) }
        }
        for name in ["layers", "work", "staging", "trash"] { try makeDirectory(root + "/" + name) }
        for name in ["work", "staging", "trash"] {
            let path = root + "/" + name
            for child in try names(in: FileDescriptor.directory(path), path) {
                let code = removeTree(path + "/" + String(decoding: child, as: UTF8.self))
                guard code == 0 else { throw .failed("unlink", path, code: code) }
            }
        }
        // A layer's name appears by rename, so one without a manifest was half deleted by hand.
        let layers = root + "/layers"
        for child in try names(in: FileDescriptor.directory(layers), layers) {
            let path = layers + "/" + String(decoding: child, as: UTF8.self)
            if access(path + "/manifest", F_OK) != 0 { removeTree(path) }
        }
    }

    /// Mount points below `root` in this mount namespace, latest first.
    static func mounts(below root: String) throws(SnapshotError) -> [String] {
        guard let file = fopen("/proc/self/mountinfo", "re") else { throw .last("open", "/proc/self/mountinfo") }
        defer { fclose(file) }
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        var found: [String] = []
        while getline(&line, &capacity, file) > 0 {
            guard let line else { break }
            // "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw": the fifth field is the mount point.
            let fields = String(cString: line).split(separator: " ", maxSplits: 5)
            guard fields.count > 4 else { continue }
            let path = unescaped(fields[4])
            if path.hasPrefix(root + "/") { found.append(path) }
        }
        return found.reversed()
    }

    /// Space, tab, newline and backslash are `\040` and so on in mountinfo.
    private static func unescaped(_ text: Substring) -> String {
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "\\"), index + 3 < bytes.count,
                let code = UInt8(String(decoding: bytes[(index + 1)...(index + 3)], as: UTF8.self), radix: 8)
            {
                result.append(code)
                index += 4
            } else {
                result.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
