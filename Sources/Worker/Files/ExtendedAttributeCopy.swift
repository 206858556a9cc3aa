internal import CLinux
internal import Glibc

/// Copies extended attributes, except those with which overlayfs and security modules mark files of their own.
enum ExtendedAttributeCopy {
    private static let skipped = ["trusted.overlay.", "security.selinux", "user.overlay."]

    static func copy(from source: String, to target: String, shown: String) throws(OperationError) {
        let size = linux_llistxattr(source, nil, 0)
        guard size > 0 else { return }
        var list = [CChar](repeating: 0, count: size)
        let count = linux_llistxattr(source, &list, size)
        guard count > 0 else { return }
        for raw in list[..<count].split(separator: 0) {
            let name = String(decoding: raw.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard !skipped.contains(where: name.hasPrefix) else { continue }
            let length = linux_lgetxattr(source, name, nil, 0)
            guard length >= 0 else { continue }
            var value = [UInt8](repeating: 0, count: max(1, length))
            let got = linux_lgetxattr(source, name, &value, value.count)
            guard got >= 0 else { continue }
            guard linux_lsetxattr(target, name, value, got) == 0 || errno == EOPNOTSUPP else {
                throw .system(call: "set attribute \(name) of \(shown)", code: errno)
            }
        }
    }
}
