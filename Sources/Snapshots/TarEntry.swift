internal import Transfer

/// One member of a tar archive, with what its extended headers say.
struct TarEntry {
    /// POSIX and GNU type flags.
    enum Kind: UInt8 {
        case file = 0x30, hardlink, symlink, characterDevice, blockDevice, directory, fifo
    }

    /// A stretch of data in a sparse file.
    struct Extent {
        var offset: Int64
        var count: Int64
    }

    var name: [UInt8]
    var kind: Kind
    var mode: UInt16 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var modified = FileTime()
    var linkName: [UInt8] = []
    var major: UInt32 = 0
    var minor: UInt32 = 0
    var attributes: [ExtendedAttribute] = []
    /// Bytes of the member in the archive.
    var storedSize: Int64 = 0
    /// Bytes of the file.
    var size: Int64 = 0
    /// Where the stored bytes belong; nil when the file is not sparse.
    var extents: [Extent]?
}
