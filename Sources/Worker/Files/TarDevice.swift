internal import CLinux
internal import Glibc

/// Device numbers from the two numbers of an archive.
enum TarDevice {
    static func number(major: UInt32, minor: UInt32) -> dev_t { dev_t(clinux_device(major, minor)) }
}
