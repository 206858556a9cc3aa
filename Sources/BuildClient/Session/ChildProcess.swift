internal import Foundation

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
        let standardInput = Pipe()
        let standardOutput = Pipe()
        process.standardInput = standardInput
        process.standardOutput = standardOutput
        process.standardError = FileHandle.nullDevice
        try process.run()
        // Helpers read one line's worth; it fits the pipe, so writing can't block.
        try? standardInput.fileHandleForWriting.write(contentsOf: Data(input))
        try? standardInput.fileHandleForWriting.close()
        let bytes = try standardOutput.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return Output(status: process.terminationStatus, bytes: Array(bytes))
    }
}
