internal import Glibc

/// Go's `os.FileMode` bits, which fsutil puts on the wire, and the kernel's `st_mode`.
package enum GoFileMode {
    package static let directory: UInt32 = 1 << 31
    package static let symlink: UInt32 = 1 << 27
    package static let device: UInt32 = 1 << 26
    package static let namedPipe: UInt32 = 1 << 25
    package static let socket: UInt32 = 1 << 24
    package static let setUserID: UInt32 = 1 << 23
    package static let setGroupID: UInt32 = 1 << 22
    package static let characterDevice: UInt32 = 1 << 21
    package static let sticky: UInt32 = 1 << 20
    package static let irregular: UInt32 = 1 << 19
    package static let permissions: UInt32 = 0o777
    /// Go's `os.ModeType`: an entry with none of these bits is a regular file.
    package static let typeBits = directory | symlink | device | namedPipe | socket | characterDevice | irregular

    private static let bits: [(go: UInt32, kernel: UInt32)] = [
        (setUserID, 0o4000), (setGroupID, 0o2000), (sticky, 0o1000),
    ]

    private static let types: [(go: UInt32, kernel: UInt32)] = [
        (directory, S_IFDIR), (symlink, S_IFLNK), (device | characterDevice, S_IFCHR), (device, S_IFBLK),
        (namedPipe, S_IFIFO), (socket, S_IFSOCK), (0, S_IFREG),
    ]

    /// The Go mode of an `st_mode`.
    package static func fromStat(_ mode: UInt32) -> UInt32 {
        let type = types.first { $0.kernel == mode & S_IFMT }?.go ?? irregular
        return bits.reduce((mode & permissions) | type) { mode & $1.kernel != 0 ? $0 | $1.go : $0 }
    }

    /// The `st_mode` of a Go mode; an unknown combination of type bits gives a mode without a type.
    package static func toStat(_ mode: UInt32) -> UInt32 {
        let type = types.first { $0.go == mode & typeBits }?.kernel ?? 0
        return bits.reduce((mode & permissions) | type) { mode & $1.go != 0 ? $0 | $1.kernel : $0 }
    }
}
