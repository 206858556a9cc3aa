internal import Foundation
internal import Glibc

/// A program that was started; its output goes to files.
final class Command: @unchecked Sendable {  // Process is used by one test at a time.
    /// How a program ended.
    struct Result: Sendable {
        var status: Int32
        var output: String
        var errors: String
    }

    private let process = Process()
    private let outputFile: String
    private let errorFile: String
    private let name: String

    /// Starts a program; the two files get its output, and are made anew.
    init(_ arguments: [String], environment: [String: String] = [:], files: String) throws {
        guard let program = arguments.first else { throw HarnessFailure("no program") }
        name = arguments.joined(separator: " ")
        outputFile = files + ".out"
        errorFile = files + ".err"
        for file in [outputFile, errorFile] {
            _ = FileManager.default.createFile(atPath: file, contents: nil)
        }
        process.executableURL = URL(fileURLWithPath: program.hasPrefix("/") ? program : "/usr/bin/env")
        process.arguments = program.hasPrefix("/") ? Array(arguments.dropFirst()) : arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        let outputHandle = try FileHandle(forWritingTo: URL(fileURLWithPath: outputFile))
        let errorHandle = try FileHandle(forWritingTo: URL(fileURLWithPath: errorFile))
        process.standardOutput = outputHandle
        process.standardError = errorHandle
        // The program has its own copies; a test that asks hundreds of times keeps none.
        defer {
            try? outputHandle.close()
            try? errorHandle.close()
        }
        try process.run()
    }

    var pid: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }
    var output: String { (try? String(contentsOfFile: outputFile, encoding: .utf8)) ?? "" }
    var errors: String { (try? String(contentsOfFile: errorFile, encoding: .utf8)) ?? "" }

    /// What the program wrote is not needed any more.
    func removeFiles() {
        for file in [outputFile, errorFile] { try? FileManager.default.removeItem(atPath: file) }
    }

    func send(_ signal: Int32) { if process.isRunning { kill(process.processIdentifier, signal) } }

    /// Waits for the end; a program that hangs is killed and the test fails.
    func end(within seconds: Double = 60) async throws -> Result {
        do {
            try await eventually("the end of \(name)", within: seconds) { !process.isRunning }
        } catch {
            send(SIGKILL)
            throw HarnessFailure("\(error)\n\(output)\n\(errors)")
        }
        return Result(status: process.terminationStatus, output: output, errors: errors)
    }
}
