/// A device's major and minor number in glibc's `dev_t` encoding (`makedev(3)` is a macro that Swift does not see).
struct DeviceNumber: Hashable {
    let major: UInt32
    let minor: UInt32

    init(major: UInt32, minor: UInt32) {
        self.major = major
        self.minor = minor
    }

    init(_ encoded: UInt) {
        major = UInt32(truncatingIfNeeded: (encoded >> 8) & 0xFFF | (encoded >> 32) & 0xFFFF_F000)
        minor = UInt32(truncatingIfNeeded: encoded & 0xFF | (encoded >> 12) & 0xFFFF_FF00)
    }

    var encoded: UInt {
        let (major, minor) = (UInt(major), UInt(minor))
        return (major & 0xFFF) << 8 | (major & 0xFFFF_F000) << 32 | minor & 0xFF | (minor & 0xFFFF_FF00) << 12
    }
}
