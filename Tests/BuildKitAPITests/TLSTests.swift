import BuildKitAPI
import BuildKitProtocol
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2
import Logging
import Testing

/// Mutual TLS with certificates that `openssl` makes for the test.
@Suite(.timeLimit(.minutes(1)))
struct TLSTests {
    private static let openssl = "/usr/bin/openssl"
    private static let hasOpenSSL = FileManager.default.isExecutableFile(atPath: openssl)

    @Test(.enabled(if: hasOpenSSL, "there is no /usr/bin/openssl"))
    func `only a client with a certificate of the authority is served`() async throws {
        let directory = NSTemporaryDirectory() + "pbtls-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        for name in ["ca", "stranger"] {
            try await Self.run([
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                "/CN=\(name)", "-keyout", "\(directory)/\(name).key", "-out", "\(directory)/\(name).pem",
            ])
        }
        try await Self.run([
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-CA", "\(directory)/ca.pem", "-CAkey",
            "\(directory)/ca.key", "-keyout", "\(directory)/node.key", "-out", "\(directory)/node.pem",
        ])
        let server = try APIServer(
            addresses: [try APIAddress("tcp://127.0.0.1:0")],
            tls: APITLS(
                authority: directory + "/ca.pem", certificate: directory + "/node.pem", key: directory + "/node.key"),
            backend: RecordingBackend(), cluster: LoneNode(), logger: Logger(label: "test"))
        guard case .tcp(_, let port) = server.addresses[0] else { return }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            let id = try await Self.workerID(port: port, directory, certificate: "node")
            #expect(id == "node-1")
            await #expect(throws: RPCError.self) {
                try await Self.workerID(port: port, directory, certificate: "stranger")
            }
            server.stop(grace: .seconds(1))
            try await group.waitForAll()
        }
    }

    private static func workerID(port: UInt16, _ directory: String, certificate: String) async throws -> String? {
        let transport = try HTTP2ClientTransport.Posix(
            target: .ipv4(address: "127.0.0.1", port: Int(port)),
            transportSecurity: .mTLS(
                certificateChain: [.file(path: "\(directory)/\(certificate).pem", format: .pem)],
                privateKey: .file(path: "\(directory)/\(certificate).key", format: .pem)
            ) {
                $0.trustRoots = .certificates([.file(path: directory + "/ca.pem", format: .pem)])
                $0.serverCertificateVerification = .noHostnameVerification
            })
        return try await withGRPCClient(transport: transport) { client in
            var options = CallOptions.defaults
            options.waitForReady = false
            options.timeout = .seconds(5)
            let workers = try await Control.Client(wrapping: client).listWorkers(.init(), options: options)
            return workers.record.first?.id
        }
    }

    private static func run(_ arguments: [String]) async throws {
        let process = Process()
        process.executableURL = URL(filePath: openssl)
        process.arguments = arguments
        process.standardError = FileHandle.nullDevice
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in continuation.resume() }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        try #require(process.terminationStatus == 0)
    }
}
