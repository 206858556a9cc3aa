internal import Glibc

/// The C library's words for an errno, in lower case as the rest of our messages.
enum SystemErrorText {
    private static let bytesMax = 256

    static func of(_ code: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: bytesMax)
        guard strerror_r(code, &buffer, bytesMax) == 0 else { return "error \(code)" }
        return buffer.withUnsafeBufferPointer { text in
            text.baseAddress.map { String(cString: $0).lowercased() } ?? "error \(code)"
        }
    }
}
