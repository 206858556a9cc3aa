internal import Glibc

/// Owns an open file descriptor and closes it at its end.
final class FileDescriptor: Sendable {
    let number: Int32

    init(_ number: Int32) { self.number = number }

    deinit { close(number) }

    /// Takes the result of a shim: a descriptor, or a negative errno.
    static func checked(_ result: Int32, _ call: @autoclosure () -> String) throws(OperationError) -> FileDescriptor {
        guard result >= 0 else { throw .system(call: call(), code: -result) }
        return FileDescriptor(result)
    }

    /// A path that leads to the open file itself, whatever its name is now.
    var procPath: String { "/proc/self/fd/\(number)" }

    /// Where the open file is in the file system.
    func currentPath() throws(OperationError) -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let length = readlink(procPath, &buffer, Int(PATH_MAX))
        guard length > 0 else { throw .system(call: "readlink \(procPath)", code: errno) }
        return String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Reads to the end, at most `bytesMax` bytes.
    func readAll(bytesMax: Int, name: String) throws(OperationError) -> [UInt8] {
        var content: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = read(number, &piece, piece.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw .system(call: "read \(name)", code: errno)
            }
            if count == 0 { return content }
            guard content.count + count <= bytesMax else { throw .invalid("\(name) is larger than \(bytesMax) bytes") }
            content += piece[..<count]
        }
    }

    func writeAll(_ content: some Collection<UInt8>, name: String) throws(OperationError) {
        let bytes = Array(content)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                buffer.baseAddress.map { write(number, $0 + done, bytes.count - done) } ?? 0
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw .system(call: "write \(name)", code: errno)
            }
            done += count
        }
    }
}
