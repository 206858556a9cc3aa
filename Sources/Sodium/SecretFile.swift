internal import Glibc

/// Reading and writing of files that hold secrets: mode 0600, whole or not at all.
package enum SecretFile {
    /// Reads a file of at most `bytesMax` bytes that only its owner may read.
    package static func read(_ path: String, bytesMax: Int) throws(SodiumError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("fstat", path) }
        let mode = status.st_mode & 0o7777
        guard mode & 0o077 == 0 else { throw .permissions(path: path, mode: mode) }
        guard status.st_size <= bytesMax else {
            throw .malformed(
                what: "\(status.st_size) bytes long", place: path, remedy: "it may have \(bytesMax) at most")
        }
        var content = [UInt8](repeating: 0, count: bytesMax + 1)
        var filled = 0
        while filled <= bytesMax {
            let got = content.withUnsafeMutableBytes { buffer in
                Glibc.read(descriptor, buffer.baseAddress?.advanced(by: filled), buffer.count - filled)
            }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw failure("read", path) }
            if got == 0 { break }
            filled += got
        }
        guard filled <= bytesMax else {
            throw .malformed(what: "too long", place: path, remedy: "it may have \(bytesMax) bytes at most")
        }
        return Array(content[..<filled])
    }

    /// Writes `content` with mode 0600, durably, through a temporary file beside it and a rename.
    package static func write(_ content: [UInt8], to path: String) throws(SodiumError) {
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("open", temporary) }
        let written = content.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        let complete = written == content.count && fsync(descriptor) == 0
        let code = errno
        close(descriptor)
        guard complete else {
            unlink(temporary)
            throw failure("write", temporary, code: code)
        }
        guard rename(temporary, path) == 0 else { throw failure("rename", path) }
        try syncParent(of: path)
    }

    private static func syncParent(of path: String) throws(SodiumError) {
        let parent: String
        if let slash = path.lastIndex(of: "/") {
            parent = slash == path.startIndex ? "/" : String(path[..<slash])
        } else {
            parent = "."
        }
        let directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw failure("open", parent) }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw failure("fsync", parent) }
    }

    /// Whether anything is at `path`.
    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    private static func failure(_ call: String, _ path: String, code: Int32 = errno) -> SodiumError {
        .file(path: path, call: call, code: code, text: String(cString: strerror(code)))
    }
}
