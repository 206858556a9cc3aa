internal import Foundation
internal import Glibc

/// Runs a program of the user's to its end.
enum ChildProcess {
    struct Output: Sendable {
        let status: Int32
        /// Standard output.
        let bytes: [UInt8]
    }

    /// Finds `program` in PATH, gives it `input` and collects what it prints.
    static func run(_ program: String, _ arguments: [String], input: [UInt8]) async throws -> Output {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program] + arguments
        let standardOutput = Pipe()
        process.standardInput = try file(holding: input)
        process.standardOutput = standardOutput
        process.standardError = FileHandle.nullDevice
        try process.run()
        let bytes = try standardOutput.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return Output(status: process.terminationStatus, bytes: Array(bytes))
    }

    /// A file without a name, to be read from its start.
    ///
    /// A pipe would raise SIGPIPE here when the program ends without reading, as one that does not exist does.
    private static func file(holding bytes: [UInt8]) throws -> FileHandle {
        guard let stream = tmpfile() else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        defer { fclose(stream) }
        let handle = FileHandle(fileDescriptor: dup(fileno(stream)), closeOnDealloc: true)
        try handle.write(contentsOf: Data(bytes))
        try handle.seek(toOffset: 0)
        return handle
    }
}
