internal import CLinux
internal import Glibc
internal import PathPatterns

extension RootedTree {
    /// Makes a directory with its missing parents; what exists is left as it is.
    ///
    /// `time` is the modification time of what is made; nil is now.
    /// Gives what was made, outermost first.
    @discardableResult
    func makeDirectories(
        _ path: String, mode: UInt32, owner: (uid: UInt32, gid: UInt32), time: timespec? = nil
    ) throws(OperationError) -> [Location] {
        let location = try resolve(path)
        guard !location.exists else {
            guard let status = status(location), status.st_mode & S_IFMT == S_IFDIR else {
                throw .system(call: "mkdir \(path)", code: ENOTDIR)
            }
            return []
        }
        var made: [Location] = []
        for count in (location.existing + 1)...location.components.count {
            let part = Location(components: Array(location.components[..<count]), existing: count)
            let (parent, name) = try openParent(of: part)
            guard mkdirat(parent.number, name, mode_t(mode)) == 0 else {
                throw .system(call: "mkdir \(part.text)", code: errno)
            }
            try Self.setMetadata(parent, name, owner: owner, mode: mode, time: nil, shown: part.text)
            made.append(part)
        }
        if let time { try setTimes(of: made, to: time) }
        return made
    }

    /// Sets modification times, the innermost first: call when nothing more is made in the directories.
    func setTimes(of locations: [Location], to time: timespec) throws(OperationError) {
        for location in locations.reversed() {
            let (parent, name) = try openParent(of: location)
            try Self.setMetadata(parent, name, owner: nil, mode: nil, time: time, shown: location.text)
        }
    }

    /// The open parent directory of a location, and the name in it; the root itself is `.` in the root.
    func openParent(of location: Location) throws(OperationError) -> (directory: FileDescriptor, name: [CChar]) {
        let parent = Location(components: Array(location.components.dropLast()), existing: 0)
        do {
            let directory = try open(parent, O_RDONLY | O_DIRECTORY)
            return (directory, Location.relative(location.components.suffix(1)))
        } catch .system(_, let code) where code == ENOENT {
            throw .notFound(path: parent.text)
        }
    }

    /// Sets owner, then mode (the change of owner clears set-uid bits), then time.
    ///
    /// A nil mode or time stays.
    static func setMetadata(
        _ directory: FileDescriptor, _ name: [CChar], owner: (uid: UInt32, gid: UInt32)?, mode: UInt32?,
        time: timespec?, shown: String
    ) throws(OperationError) {
        if let owner, fchownat(directory.number, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) != 0 {
            throw .system(call: "chown \(shown)", code: errno)
        }
        if let mode, fchmodat(directory.number, name, mode_t(mode & 0o7777), 0) != 0 {
            throw .system(call: "chmod \(shown)", code: errno)
        }
        if let time, utimensat(directory.number, name, [time, time], AT_SYMLINK_NOFOLLOW) != 0 {
            throw .system(call: "utimensat \(shown)", code: errno)
        }
    }

    /// Removes an entry with everything below it; links are not followed.
    static func removeTree(_ directory: FileDescriptor, _ name: [CChar], shown: String) throws(OperationError) {
        if unlinkat(directory.number, name, 0) == 0 || errno == ENOENT { return }
        guard errno == EISDIR || errno == EPERM || errno == ENOTEMPTY else {
            throw .system(call: "unlink \(shown)", code: errno)
        }
        let number = openat(directory.number, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard number >= 0 else { throw .system(call: "open \(shown)", code: errno) }
        let inside = FileDescriptor(number)
        for child in try DirectoryListing.names(in: inside, shown: shown) {
            let text = String(decoding: child, as: UTF8.self)
            try removeTree(inside, child.map { CChar(bitPattern: $0) } + [0], shown: "\(shown)/\(text)")
        }
        guard unlinkat(directory.number, name, Int32(AT_REMOVEDIR)) == 0 else {
            throw .system(call: "rmdir \(shown)", code: errno)
        }
    }

    /// Locations that a path with Go wildcards names, in byte order.
    ///
    /// Links on the way are followed inside the tree.
    func expand(_ pattern: String) throws -> [String] {
        var found = [""]
        for component in pattern.split(separator: "/").map(String.init) where component != "." {
            guard GoPattern.hasWildcards(component) else {
                found = found.map { "\($0)/\(component)" }
                continue
            }
            let matcher = try GoPattern(component)
            var next: [String] = []
            for parent in found {
                guard let directory = try? open(parent.isEmpty ? "/" : parent, O_RDONLY | O_DIRECTORY) else { continue }
                let names = try DirectoryListing.names(in: directory, shown: parent)
                next += names.map { String(decoding: $0, as: UTF8.self) }.filter(matcher.matches).map {
                    "\(parent)/\($0)"
                }
            }
            found = next
        }
        guard GoPattern.hasWildcards(pattern) else { return [found[0].isEmpty ? "/" : found[0]] }
        return try found.filter { try resolve($0, followsLast: false).exists }
    }
}
