internal import Foundation
internal import Glibc
internal import Synchronization

/// Directories that a command makes and removes at its end.
final class ScratchDirectories: Sendable {
    private let paths = Mutex<[String]>([])

    func make() throws -> String {
        let base = FileManager.default.temporaryDirectory.path
        var template = Array("\(base)/peerbuild-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw BuildPlanError("no temporary directory in \(base): \(String(cString: strerror(errno)))")
        }
        let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        paths.withLock { $0.append(path) }
        return path
    }

    func remove() {
        for path in paths.withLock({ $0 }) { try? FileManager.default.removeItem(atPath: path) }
    }
}
