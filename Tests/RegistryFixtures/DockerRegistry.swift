internal import Foundation
internal import Glibc

/// Debian's `docker-registry` on a free loopback port, with its storage in a temporary directory.
package final class DockerRegistry: Sendable {
    /// `127.0.0.1:PORT`.
    package let host: String
    package let directory: String
    private let process: Process

    private struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    private static let startTimeout = Duration.seconds(20)

    /// Starts the registry; with a password only that user gets in (HTTP Basic).
    ///
    /// With a network namespace it listens there, on `address`.
    package static func start(
        user: String? = nil, password: String? = nil, address: String = "127.0.0.1", namespace: String? = nil
    ) async throws -> DockerRegistry {
        let directory = FileManager.default.temporaryDirectory.path + "/peerbuild-registry-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: directory + "/data", withIntermediateDirectories: true)
        let port = try freePort()
        var config = """
            version: 0.1
            log: {level: error}
            storage:
              filesystem: {rootdirectory: \(directory)/data}
              delete: {enabled: true}
            http:
              addr: \(address):\(port)

            """
        if let user, let password {
            let entry = try output("/usr/bin/htpasswd", ["-Bbn", user, password])
            try entry.write(toFile: directory + "/htpasswd", atomically: true, encoding: .utf8)
            config += "auth:\n  htpasswd: {realm: test, path: \(directory)/htpasswd}\n"
        }
        try config.write(toFile: directory + "/config.yml", atomically: true, encoding: .utf8)
        let process = Process()
        let command = inNamespace(namespace, ["/usr/bin/docker-registry", "serve", directory + "/config.yml"])
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        // Its access log, one line a request.
        let log = directory + "/access.log"
        _ = FileManager.default.createFile(atPath: log, contents: nil)
        process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
        process.standardError = FileHandle.nullDevice
        try process.run()
        let registry = DockerRegistry(host: "\(address):\(port)", directory: directory, process: process)
        try await registry.waitUntilReady {
            guard namespace != nil else { return accepts(port: port) }
            let connect = ["/usr/bin/bash", "-c", "exec 3<>/dev/tcp/\(address)/\(port)"]
            let command = inNamespace(namespace, connect)
            return (try? output(command[0], Array(command.dropFirst()))) != nil
        }
        return registry
    }

    private static func inNamespace(_ name: String?, _ command: [String]) -> [String] {
        name.map { ["/usr/bin/nsenter", "--net=/run/netns/\($0)"] + command } ?? command
    }

    /// Whether the registry can ask for a password on this machine.
    package static var canAuthenticate: Bool { FileManager.default.isExecutableFile(atPath: "/usr/bin/htpasswd") }

    private init(host: String, directory: String, process: Process) {
        self.host = host
        self.directory = directory
        self.process = process
    }

    /// How often each blob was read, by the registry's own access log; the last lines may come a moment late.
    package func blobReads() throws -> [String: Int] {
        let log = try String(contentsOfFile: directory + "/access.log", encoding: .utf8)
        var reads: [String: Int] = [:]
        for line in log.split(separator: "\n") where line.contains("\"GET ") && line.contains("\" 200 ") {
            guard let place = line.range(of: "/blobs/sha256:") else { continue }
            reads[String(line[place.upperBound...].prefix(64)), default: 0] += 1
        }
        return reads
    }

    /// Ends the registry and keeps its storage and its log.
    package func halt() {
        guard process.isRunning else { return }
        process.terminate()
        process.waitUntilExit()
    }

    /// Ends the registry and removes its storage.
    package func stop() {
        halt()
        try? FileManager.default.removeItem(atPath: directory)
    }

    private func waitUntilReady(_ isReady: () -> Bool) async throws {
        let deadline = ContinuousClock.now + Self.startTimeout
        while ContinuousClock.now < deadline {
            guard process.isRunning else { throw Failure(description: "docker-registry ended at once") }
            if isReady() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        stop()
        throw Failure(description: "docker-registry does not listen after \(Self.startTimeout)")
    }

    /// A port that nobody listens on now.
    package static func freePort() throws -> UInt16 {
        let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var address = loopback(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                bind(socket, raw, length) == 0 && getsockname(socket, raw, &length) == 0
            }
        }
        guard bound else { throw Failure(description: "no free port: \(String(cString: strerror(errno)))") }
        return UInt16(bigEndian: address.sin_port)
    }

    private static func accepts(port: UInt16) -> Bool {
        let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var address = loopback(port: port)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    private static func loopback(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    /// Standard output of a program that has to succeed.
    package static func output(_ path: String, _ arguments: [String]) throws -> String {
        let process = Process()
        let pipe = Pipe()
        let errors = Pipe()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.standardOutput = pipe
        process.standardError = errors
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        let words = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(description: "\(path) \(arguments): \(String(decoding: words, as: UTF8.self))")
        }
        return String(decoding: data, as: UTF8.self)
    }
}
