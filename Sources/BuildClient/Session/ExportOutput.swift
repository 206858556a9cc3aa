internal import Foundation
internal import Glibc

/// Where the bytes of one exporter go.
///
/// Dropped without `finish` when the build failed.
protocol ExportOutput {
    func write(_ data: Data) throws
    func finish() throws
}

/// A file that appears under its name only when it is whole.
final class ReplacedFile: ExportOutput {
    private let path: String
    private let temporaryPath: String
    private let file: FileHandle
    private var isFinished = false

    init(_ path: String) throws {
        self.path = path
        // A device or pipe is written to, not replaced.
        let isSpecial =
            (try? FileManager.default.attributesOfItem(atPath: path)[.type] as? FileAttributeType)
            .map { $0 != .typeRegular } ?? false
        temporaryPath = isSpecial ? path : path + ".peerbuild-\(getpid())"
        let descriptor = open(temporaryPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else {
            throw ExportError.cannotWrite(temporaryPath, reason: String(cString: strerror(errno)))
        }
        file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }

    deinit {
        if !isFinished, temporaryPath != path { unlink(temporaryPath) }
    }

    func write(_ data: Data) throws { try file.write(contentsOf: data) }

    func finish() throws {
        try file.close()
        if temporaryPath != path, rename(temporaryPath, path) != 0 {
            throw ExportError.cannotWrite(path, reason: String(cString: strerror(errno)))
        }
        isFinished = true
    }
}

/// Results on standard output.
struct StandardOutput: ExportOutput {
    func write(_ data: Data) throws { try FileHandle.standardOutput.write(contentsOf: data) }
    func finish() throws {}
}

/// The Docker engine of this machine, through its command.
final class DockerLoad: ExportOutput {
    private let process = Process()
    private let input = Pipe()

    init() throws {
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["docker", "load", "--quiet"]
        process.standardInput = input
        process.standardOutput = FileHandle.standardError
        try process.run()
    }

    deinit {
        if process.isRunning { process.terminate() }
    }

    func write(_ data: Data) throws {
        do { try input.fileHandleForWriting.write(contentsOf: data) } catch { throw ExportError.dockerLoad }
    }

    func finish() throws {
        try input.fileHandleForWriting.close()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw ExportError.dockerLoad }
    }
}

enum ExportError: Error, Hashable, CustomStringConvertible {
    case cannotWrite(String, reason: String)
    case dockerLoad

    var description: String {
        switch self {
        case .cannotWrite(let path, let reason): "can't write the build's result to \(path): \(reason)"
        case .dockerLoad:
            "`docker load` failed; is Docker running here? To write the image to a file, use -o type=docker,dest=FILE"
        }
    }
}
