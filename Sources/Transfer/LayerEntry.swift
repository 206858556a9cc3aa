/// One path of a layer: what it is and all metadata that make it equal or unequal to another.
package struct LayerEntry: Sendable, Hashable {
    /// Raw bytes, relative, components joined by `/`; empty for the layer's root directory.
    ///
    /// Need not be UTF-8.
    package var path: [UInt8]
    /// Permission bits with setuid, setgid and sticky: 0...0o7777.
    ///
    /// Always 0o777 for symbolic links, 0 for whiteouts.
    package var mode: UInt16
    package var uid: UInt32
    package var gid: UInt32
    package var modified: FileTime
    /// Sorted by name, no name twice; overlay's own attributes are never among them.
    package var attributes: [ExtendedAttribute]
    package var kind: Kind

    package enum Kind: Sendable, Hashable {
        /// `isOpaque`: hides all that lower layers have in this directory.
        case directory(isOpaque: Bool)
        /// `content`: the chunks of the bytes, of which there are `size`.
        case file(size: Int64, content: ChunkedContent)
        /// The same inode as the `.file` at `target`, which precedes it in this layer; the metadata are that file's.
        case hardlink(target: [UInt8])
        case symlink(target: [UInt8])
        case characterDevice(major: UInt32, minor: UInt32)
        case blockDevice(major: UInt32, minor: UInt32)
        case fifo
        /// Deletes what lower layers have at this path.
        case whiteout
    }

    package init(
        path: [UInt8], mode: UInt16, uid: UInt32 = 0, gid: UInt32 = 0, modified: FileTime = FileTime(),
        attributes: [ExtendedAttribute] = [], kind: Kind
    ) {
        self.path = path
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.modified = modified
        self.attributes = attributes
        self.kind = kind
    }

    /// A whiteout of `path`.
    package static func whiteout(_ path: [UInt8]) -> LayerEntry { LayerEntry(path: path, mode: 0, kind: .whiteout) }

    package var isDirectory: Bool {
        if case .directory = kind { true } else { false }
    }

    package var isWhiteout: Bool { kind == .whiteout }

    /// The path for people: what is not UTF-8 is replaced.
    package var displayPath: String { "/" + String(decoding: path, as: UTF8.self) }
}

/// A time stamp of a file: seconds since 1970, possibly negative, and nanoseconds in 0..<1,000,000,000.
package struct FileTime: Sendable, Hashable, Comparable {
    package var seconds: Int64
    package var nanoseconds: UInt32

    package init(seconds: Int64 = 0, nanoseconds: UInt32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// Nanoseconds since 1970 in 64 bits; of a time before 1677 or after 2262 the nearest that they hold.
    package var nanosecondsSince1970: Int64 {
        // Seconds below zero go towards it by one, so that the product holds the earliest times too.
        let isEarly = seconds < 0 && nanoseconds > 0
        let whole = (isEarly ? seconds + 1 : seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let rest = isEarly ? Int64(nanoseconds) - 1_000_000_000 : Int64(nanoseconds)
        let sum = whole.partialValue.addingReportingOverflow(rest)
        if whole.overflow || sum.overflow { return seconds < 0 ? .min : .max }
        return sum.partialValue
    }

    package static func < (left: FileTime, right: FileTime) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }
}

/// One extended attribute, name with its namespace (`user.x`, `security.capability`).
package struct ExtendedAttribute: Sendable, Hashable, Comparable {
    package var name: [UInt8]
    package var value: [UInt8]

    package init(name: [UInt8], value: [UInt8]) {
        self.name = name
        self.value = value
    }

    package static func < (left: ExtendedAttribute, right: ExtendedAttribute) -> Bool {
        left.name.lexicographicallyPrecedes(right.name)
    }
}
