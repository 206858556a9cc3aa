internal import CLinux
internal import Glibc
internal import Transfer

/// Extended attributes of a path; links are not followed.
enum ExtendedAttributes {
    static let opaqueName = Array("trusted.overlay.opaque".utf8)

    /// All attributes, unsorted.
    ///
    /// A file system without attributes has none.
    static func read(_ path: [UInt8], _ shown: @autoclosure () -> String) throws(SnapshotError) -> [ExtendedAttribute] {
        // XATTR_LIST_MAX bounds the second try.
        for capacity in [1_024, 65_536] {
            var code: Int32 = 0
            let list = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
                let length = buffer.withMemoryRebound(to: CChar.self) { names in
                    withCPath(path) { linux_llistxattr($0, names.baseAddress, capacity) }
                }
                code = length < 0 ? errno : 0
                count = max(0, length)
            }
            if code == ERANGE { continue }
            if code == EOPNOTSUPP { return [] }
            guard code == 0 else { throw .failed("llistxattr", shown(), code: code) }
            if list.isEmpty { return [] }
            var attributes: [ExtendedAttribute] = []
            for name in list.split(separator: 0) {
                guard let value = try value(of: [UInt8](name), at: path, shown()) else { continue }
                attributes.append(ExtendedAttribute(name: [UInt8](name), value: value))
            }
            return attributes
        }
        throw .unsupported(path: shown(), "its list of extended attributes is longer than 65,536 bytes")
    }

    /// One value; nil when it is gone.
    private static func value(
        of name: [UInt8], at path: [UInt8], _ shown: @autoclosure () -> String
    ) throws(SnapshotError) -> [UInt8]? {
        var code: Int32 = 0
        let capacity = LayerManifest.attributeBytesMax
        let value = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            let length = withCPath(path) { path in
                withCPath(name) { linux_lgetxattr(path, $0, buffer.baseAddress, capacity) }
            }
            code = length < 0 ? errno : 0
            count = max(0, length)
        }
        if code == ENODATA { return nil }
        guard code == 0 else { throw .failed("lgetxattr", shown(), code: code) }
        return value
    }

    static func set(
        _ attribute: ExtendedAttribute, at path: [UInt8], _ shown: @autoclosure () -> String
    ) throws(SnapshotError) {
        let result = withCPath(path) { path in
            withCPath(attribute.name) { name in
                attribute.value.withUnsafeBytes { linux_lsetxattr(path, name, $0.baseAddress, $0.count) }
            }
        }
        guard result == 0 else { throw .last("lsetxattr", shown()) }
    }

    /// Sets an attribute of an open file.
    static func set(
        _ attribute: ExtendedAttribute, on file: Int32, _ shown: @autoclosure () -> String
    ) throws(SnapshotError) {
        let result = withCPath(attribute.name) { name in
            attribute.value.withUnsafeBytes { linux_fsetxattr(file, name, $0.baseAddress, $0.count) }
        }
        guard result == 0 else { throw .last("fsetxattr", shown()) }
    }

    static func remove(
        _ name: [UInt8], at path: [UInt8], _ shown: @autoclosure () -> String
    ) throws(SnapshotError) {
        let result = withCPath(path) { path in withCPath(name) { linux_lremovexattr(path, $0) } }
        guard result == 0 || errno == ENODATA else { throw .last("lremovexattr", shown()) }
    }
}
