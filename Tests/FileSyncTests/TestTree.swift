internal import Foundation
internal import Glibc

/// A directory that is removed with the last reference.
final class TestTree {
    let path: String

    init() throws {
        var template = Array("/tmp/filesync-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw POSIXError(.EIO) }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func directory(_ name: String, mode: mode_t = 0o755) throws {
        try FileManager.default.createDirectory(atPath: "\(path)/\(name)", withIntermediateDirectories: true)
        chmod("\(path)/\(name)", mode)
    }

    func file(_ name: String, _ text: String, mode: mode_t = 0o644) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
        chmod("\(path)/\(name)", mode)
    }

    func symlink(_ name: String, to target: String) { Glibc.symlink(target, "\(path)/\(name)") }
    func hardLink(_ name: String, to target: String) { link("\(path)/\(target)", "\(path)/\(name)") }

    func text(_ name: String) -> String? {
        FileManager.default.contents(atPath: "\(path)/\(name)").map { String(decoding: $0, as: UTF8.self) }
    }

    func stat(_ name: String) -> Glibc.stat? {
        var result = Glibc.stat()
        return lstat("\(path)/\(name)", &result) == 0 ? result : nil
    }

    /// One line an entry, with all that a sync must keep; times of modification only where asked for.
    func listing(times: Bool = true) throws -> [String] {
        let names = (FileManager.default.enumerator(atPath: path)?.allObjects as? [String] ?? []).sorted()
        var firstNames: [UInt64: String] = [:]
        return names.map { name in
            guard let found = stat(name) else { return name + " gone" }
            var line = "\(name) \(String(found.st_mode, radix: 8)) \(found.st_uid):\(found.st_gid)"
            if times { line += " \(found.st_mtim.tv_sec).\(found.st_mtim.tv_nsec)" }
            switch found.st_mode & S_IFMT {
            case S_IFREG:
                line += " " + (text(name) ?? "unreadable").prefix(64)
                if found.st_nlink > 1 {
                    let first = firstNames[UInt64(found.st_ino), default: name]
                    firstNames[UInt64(found.st_ino)] = first
                    line += " link:" + first
                }
            case S_IFLNK:
                line +=
                    " -> " + ((try? FileManager.default.destinationOfSymbolicLink(atPath: "\(path)/\(name)")) ?? "?")
            case S_IFCHR, S_IFBLK: line += " device \(found.st_rdev)"
            default: break
            }
            return line
        }
    }
}
