internal import OCI

extension LayerManifest {
    struct Checked {
        var contentBytes: Int64 = 0
        var deletions: [Int] = []
    }

    /// Checks sorted entries against every rule of the format.
    static func check(_ entries: [LayerEntry]) throws(ManifestError) -> Checked {
        guard entries.count <= entriesMax else {
            throw .limit("entries", value: UInt64(entries.count), maximum: UInt64(entriesMax))
        }
        var result = Checked()
        // Each directory of the layer, with whether an opaque one is at or above it.
        var directories: [ArraySlice<UInt8>: Bool] = [[]: false]
        for (index, entry) in entries.enumerated() {
            if index > 0 {
                guard entries[index - 1].path.lexicographicallyPrecedes(entry.path) else {
                    throw .entry(path: entry.displayPath, "it is not after \(entries[index - 1].displayPath)")
                }
            }
            try checkPath(entry)
            try checkMetadata(entry)
            let parent = entry.path[..<(entry.path.lastIndex(of: UInt8(ascii: "/")) ?? 0)]
            guard let isBelowOpaque = directories[parent] else {
                throw .entry(path: entry.displayPath, "its parent is no directory of the layer")
            }
            switch entry.kind {
            case .directory(let isOpaque):
                directories[entry.path[...]] = isOpaque || isBelowOpaque
                if isOpaque { result.deletions.append(index) }
            case .file(let size, let content):
                guard size >= 0 else { throw .entry(path: entry.displayPath, "its size is negative") }
                if let why = content.fault(size: size) { throw .entry(path: entry.displayPath, why) }
                guard size <= contentBytesMax - result.contentBytes else {
                    throw .limit("content bytes", value: UInt64(size), maximum: UInt64(contentBytesMax))
                }
                result.contentBytes += size
            case .hardlink(let target):
                try checkHardlink(entry, target: target, in: entries, before: index)
            case .whiteout:
                // It would hide nothing, and overlayfs would list it: the opaque directory hides all that is below.
                guard !isBelowOpaque else {
                    throw .entry(path: entry.displayPath, "a whiteout is below an opaque directory")
                }
                result.deletions.append(index)
            case .symlink(let target):
                guard (1...pathBytesMax).contains(target.count), !target.contains(0) else {
                    throw .entry(path: entry.displayPath, "its link target is empty, too long or has a zero byte")
                }
            case .characterDevice(let major, let minor):
                guard major != 0 || minor != 0 else {
                    throw .entry(path: entry.displayPath, "a character device 0/0 is overlayfs' own whiteout")
                }
                try checkDevice(entry, major, minor)
            case .blockDevice(let major, let minor): try checkDevice(entry, major, minor)
            case .fifo: break
            }
        }
        return result
    }

    private static func checkPath(_ entry: LayerEntry) throws(ManifestError) {
        guard !entry.path.isEmpty else {
            guard entry.isDirectory else { throw .entry(path: "/", "the root is no directory") }
            return
        }
        guard entry.path.count <= pathBytesMax else {
            throw .limit("path bytes", value: UInt64(entry.path.count), maximum: UInt64(pathBytesMax))
        }
        for name in entry.path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            if let why = fault(inName: name) { throw .entry(path: entry.displayPath, why) }
        }
    }

    /// Why `name` cannot be a path component; nil when it can.
    package static func fault(inName name: some Collection<UInt8>) -> String? {
        if name.isEmpty { return "a component is empty" }
        if name.elementsEqual([UInt8(ascii: ".")]) || name.elementsEqual([UInt8(ascii: "."), UInt8(ascii: ".")]) {
            return "a component is . or .."
        }
        if name.count > nameBytesMax { return "a component has more than \(nameBytesMax) bytes" }
        return name.contains(0) || name.contains(UInt8(ascii: "/")) ? "a component has a zero byte or /" : nil
    }

    private static func checkMetadata(_ entry: LayerEntry) throws(ManifestError) {
        func refuse(_ why: String) -> ManifestError { .entry(path: entry.displayPath, why) }
        guard entry.mode <= 0o7777 else { throw refuse("its mode has bits beyond 07777") }
        guard entry.modified.nanoseconds < 1_000_000_000 else { throw refuse("its time has 10⁹ nanoseconds or more") }
        if case .symlink = entry.kind, entry.mode != 0o777 { throw refuse("a symbolic link's mode is not 0777") }
        if entry.isWhiteout, entry != .whiteout(entry.path) { throw refuse("a whiteout has metadata") }
        guard entry.attributes.count <= attributesMax else { throw refuse("it has too many extended attributes") }
        for (index, attribute) in entry.attributes.enumerated() {
            guard index == 0 || entry.attributes[index - 1] < attribute else {
                throw refuse("its extended attributes are not in order")
            }
            guard (1...nameBytesMax).contains(attribute.name.count), !attribute.name.contains(0),
                attribute.value.count <= attributeBytesMax
            else { throw refuse("an extended attribute is too long or has a zero byte in its name") }
            guard !attribute.name.starts(with: overlayAttributePrefix) else {
                throw refuse("an extended attribute is one of overlayfs' own")
            }
        }
    }

    private static func checkHardlink(
        _ entry: LayerEntry, target: [UInt8], in entries: [LayerEntry], before index: Int
    ) throws(ManifestError) {
        guard let found = find(target, in: entries[..<index]), case .file = entries[found].kind else {
            throw .entry(path: entry.displayPath, "it is a hard link to no earlier file of the layer")
        }
        var same = entries[found]
        same.path = entry.path
        same.kind = entry.kind
        guard same == entry else {
            throw .entry(path: entry.displayPath, "its metadata differ from those of the file it is a hard link to")
        }
    }

    private static func checkDevice(_ entry: LayerEntry, _ major: UInt32, _ minor: UInt32) throws(ManifestError) {
        // Linux: 12 bits of major number and 20 of minor.
        guard major < 1 << 12, minor < 1 << 20 else {
            throw .entry(path: entry.displayPath, "device \(major):\(minor) is out of range")
        }
    }

    /// Index of `path` in sorted `entries`.
    static func find(_ path: [UInt8], in entries: ArraySlice<LayerEntry>) -> Int? {
        var low = entries.startIndex
        var high = entries.endIndex
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].path.lexicographicallyPrecedes(path) { low = middle + 1 } else { high = middle }
        }
        return low < entries.endIndex && entries[low].path == path ? low : nil
    }
}
