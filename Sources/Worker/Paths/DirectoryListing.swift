internal import Glibc

/// Names in a directory, sorted by bytes, so that what is done with them is done in the same order everywhere.
enum DirectoryListing {
    /// Names below an open directory, raw bytes, without `.` and `..`.
    static func names(in directory: FileDescriptor, shown: String) throws(OperationError) -> [[UInt8]] {
        // A descriptor of its own: reading moves the position, and a path-only descriptor cannot be read.
        let number = openat(directory.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw .system(call: "open \(shown)", code: errno) }
        guard let stream = fdopendir(number) else {
            let code = errno
            close(number)
            throw .system(call: "read directory \(shown)", code: code)
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                guard errno == 0 else { throw .system(call: "read directory \(shown)", code: errno) }
                break
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [UInt8(ascii: ".")], name != Array("..".utf8) { names.append(name) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// Names in the directory at `path`; nil when it cannot be read.
    static func names(_ path: String) -> [String]? {
        let number = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { return nil }
        return try? names(in: FileDescriptor(number), shown: path).map { String(decoding: $0, as: UTF8.self) }
    }
}
