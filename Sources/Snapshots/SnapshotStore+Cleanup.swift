internal import CLinux
internal import ContentStore
internal import Glibc
internal import Transfer

extension SnapshotStore {
    /// Pulls that were cut off are kept this long, in seconds: a build that wants the layer comes back soon or never.
    private static let pullSecondsMax = 3 * 24 * 3_600

    /// Makes the directories and removes what a process that was killed left in them; returns how many layers of another
    /// format were dropped.
    static func clean(_ root: String, _ disk: DiskCalls) throws(SnapshotError) -> Int {
        for mount in try mounts(below: root) {
            let code = mount.withCString { linux_unmount($0) }
            guard code == 0 || code == EINVAL || code == ENOENT else { throw .failed("umount2", mount, code: code) }
        }
        for name in ["layers", "work", "staging", "trash", "pulls"] { try makeDirectory(root + "/" + name) }
        let dropped = try dropOtherFormats(root, disk)
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
        // What a pull had brought is hashed again when it goes on; here only its age counts.
        let pulls = root + "/pulls"
        for child in try names(in: FileDescriptor.directory(pulls), pulls) {
            let path = pulls + "/" + String(decoding: child, as: UTF8.self)
            var status = stat()
            let isFresh = stat(path, &status) == 0 && status.st_mtim.tv_sec > time(nil) - pullSecondsMax
            if !isFresh || access(path + "/layer/manifest", F_OK) != 0 { removeTree(path) }
        }
        return dropped
    }

    /// Layers are named by digests of their manifests, so that those of another format are never asked for again.
    private static func dropOtherFormats(_ root: String, _ disk: DiskCalls) throws(SnapshotError) -> Int {
        let path = root + "/format"
        let format = "\(LayerManifest.formatVersion)\n"
        if let known = try? FileDescriptor.open(path, O_RDONLY) {
            let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 1)
            defer { bytes.deallocate() }
            let count = try known.read(into: bytes, at: 0, path)
            if String(decoding: bytes.prefix(count), as: UTF8.self) == format { return 0 }
        }
        var dropped = 0
        for name in ["layers", "pulls"] {
            let directory = root + "/" + name
            for child in try names(in: FileDescriptor.directory(directory), directory) {
                let code = removeTree(directory + "/" + String(decoding: child, as: UTF8.self))
                guard code == 0 else { throw .failed("unlink", directory, code: code) }
                if name == "layers" { dropped += 1 }
            }
        }
        let file = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        let written = Array(format.utf8).withUnsafeBytes { bytes in
            Result { () throws(SnapshotError) in try file.write(bytes, path) }
        }
        try written.get()
        try file.sync(path, disk)
        return dropped
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
