internal import CLinux
internal import Glibc

/// Makes the entries of an archive below a directory.
///
/// Paths and links of the archive never lead out of the tree.
struct TarExtractor {
    let tree: RootedTree
    /// Where the archive's root is.
    let directory: String
    /// Owner of everything; nil keeps the archive's.
    let owner: FileActions.Owner?

    private var directoryTimes: [(location: RootedTree.Location, time: timespec)] = []

    init(tree: RootedTree, directory: String, owner: FileActions.Owner?) {
        self.tree = tree
        self.directory = directory
        self.owner = owner
    }

    mutating func extract(_ reader: TarReader) throws(OperationError) {
        while let entry = try reader.next() { try make(entry, reader) }
        // Last: making entries changes their directories' times.
        for (location, time) in directoryTimes.reversed() {
            let (parent, name) = try tree.openParent(of: location)
            try RootedTree.setMetadata(parent, name, owner: nil, mode: nil, time: time, shown: location.text)
        }
    }

    private mutating func make(_ entry: TarReader.Entry, _ reader: TarReader) throws(OperationError) {
        let shown = String(decoding: entry.path, as: UTF8.self)
        let location = try locate(entry.path, shown)
        guard location.text != (try tree.resolve(directory)).text else { return }
        let parentPath = RootedTree.Location(components: Array(location.components.dropLast()), existing: 0)
        try tree.makeDirectories(parentPath.text, mode: 0o755, owner: owner ?? (0, 0))
        let (parent, name) = try tree.openParent(of: location)
        let isDirectory = entry.type == UInt8(ascii: "5") || (entry.type == 0 && entry.path.last == UInt8(ascii: "/"))
        if let existing = tree.status(location), !(isDirectory && existing.st_mode & S_IFMT == S_IFDIR) {
            try RootedTree.removeTree(parent, name, shown: shown)
        }
        switch entry.type {
        case UInt8(ascii: "0"), 0, UInt8(ascii: "7"):
            if isDirectory {
                try makeDirectory(location, parent, name, entry, shown)
            } else {
                try makeFile(parent, name, reader, shown)
            }
        case UInt8(ascii: "1"):
            try makeHardLink(entry, parent, name, shown)
            return
        case UInt8(ascii: "2"):
            guard symlinkat(Self.raw(entry.link), parent.number, name) == 0 else { throw Self.failed("symlink", shown) }
        case UInt8(ascii: "3"): try makeNode(parent, name, S_IFCHR, entry, shown)
        case UInt8(ascii: "4"): try makeNode(parent, name, S_IFBLK, entry, shown)
        case UInt8(ascii: "5"): try makeDirectory(location, parent, name, entry, shown)
        case UInt8(ascii: "6"): try makeNode(parent, name, S_IFIFO, entry, shown)
        default: throw .unsupported("\(shown): tar entries of type \(entry.type) are not supported")
        }
        try finish(entry, parent, name, shown)
    }

    private func finish(
        _ entry: TarReader.Entry, _ parent: FileDescriptor, _ name: [CChar], _ shown: String
    ) throws(OperationError) {
        let path =
            parent.procPath + "/" + String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        for attribute in entry.attributes where !attribute.name.hasPrefix("trusted.overlay.") {
            guard
                linux_lsetxattr(path, attribute.name, attribute.value, attribute.value.count) == 0
                    || errno == EOPNOTSUPP
            else { throw Self.failed("set attribute \(attribute.name) of", shown) }
        }
        try RootedTree.setMetadata(
            parent, name, owner: owner ?? (entry.uid, entry.gid),
            mode: entry.type == UInt8(ascii: "2") ? nil : entry.mode, time: entry.time, shown: shown)
    }

    private mutating func makeDirectory(
        _ location: RootedTree.Location, _ parent: FileDescriptor, _ name: [CChar], _ entry: TarReader.Entry,
        _ shown: String
    ) throws(OperationError) {
        guard mkdirat(parent.number, name, 0o700) == 0 || errno == EEXIST else { throw Self.failed("mkdir", shown) }
        directoryTimes.append((location, entry.time))
    }

    private func makeFile(
        _ parent: FileDescriptor, _ name: [CChar], _ reader: TarReader, _ shown: String
    ) throws(OperationError) {
        let number = openat(parent.number, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard number >= 0 else { throw Self.failed("create", shown) }
        let file = FileDescriptor(number)
        try reader.content { (piece) throws(OperationError) in try file.writeAll(piece, name: shown) }
    }

    private func makeHardLink(
        _ entry: TarReader.Entry, _ parent: FileDescriptor, _ name: [CChar], _ shown: String
    ) throws(OperationError) {
        let target = try locate(entry.link, shown)
        let (targetParent, targetName) = try tree.openParent(of: target)
        guard linkat(targetParent.number, targetName, parent.number, name, 0) == 0 else {
            throw Self.failed("link", shown)
        }
    }

    private func makeNode(
        _ parent: FileDescriptor, _ name: [CChar], _ type: mode_t, _ entry: TarReader.Entry, _ shown: String
    ) throws(OperationError) {
        guard mknodat(parent.number, name, type | 0o600, entry.device) == 0 else { throw Self.failed("mknod", shown) }
    }

    /// Where a path of the archive is in the tree; its last component is not followed.
    private func locate(_ path: [UInt8], _ shown: String) throws(OperationError) -> RootedTree.Location {
        // `..` ends at the archive's root, and a link in the tree cannot lead out of the tree.
        var components: [ArraySlice<UInt8>] = []
        for component in path.split(separator: UInt8(ascii: "/")) where component != [UInt8(ascii: ".")] {
            if Array(component) == Array("..".utf8) { _ = components.popLast() } else { components.append(component) }
        }
        let below = components.joined(separator: [UInt8(ascii: "/")])
        return try tree.resolve(Array(directory.utf8) + [UInt8(ascii: "/")] + below, followsLast: false, shown: shown)
    }

    private static func raw(_ bytes: [UInt8]) -> [CChar] { bytes.map { CChar(bitPattern: $0) } + [0] }

    private static func failed(_ call: String, _ shown: String) -> OperationError {
        .system(call: "\(call) \(shown)", code: errno)
    }
}
