import BuildKitAPI
import Foundation
import Logging
import Testing

struct AddressTests {
    @Test(arguments: [
        ("unix:///run/a.sock", APIAddress.unix(path: "/run/a.sock"), true),
        ("tcp://127.0.0.1:1234", .tcp(host: "127.0.0.1", port: 1234), true),
        ("tcp://localhost:0", .tcp(host: "localhost", port: 0), true),
        ("tcp://[::1]:80", .tcp(host: "::1", port: 80), true),
        ("tcp://0.0.0.0:80", .tcp(host: "0.0.0.0", port: 80), false),
        ("tcp://[::]:80", .tcp(host: "::", port: 80), false),
        ("tcp://127.evil.example:80", .tcp(host: "127.evil.example", port: 80), false),
    ])
    func `addresses are parsed and printed, and known as local or not`(
        text: String, address: APIAddress, isLocal: Bool
    ) throws {
        #expect(try APIAddress(text) == address)
        #expect(address.description == text)
        #expect(address.isLocal == isLocal)
    }

    @Test(arguments: ["", "/run/a.sock", "unix://a.sock", "tcp://host", "tcp://:80", "tcp://h:70000", "http://h:1"])
    func `an address that is none is refused with what was expected`(text: String) {
        let error = #expect(throws: APIServerError.self) { try APIAddress(text) }
        #expect(error?.description.hasPrefix("address '\(text)' is not valid: ") == true)
    }

    @Test func `a Unix path that the kernel can't take is refused`() {
        #expect(throws: APIServerError.self) { try APIAddress("unix:///" + String(repeating: "a", count: 107)) }
        #expect(throws: Never.self) { try APIAddress("unix:///" + String(repeating: "a", count: 106)) }
    }

    @Test func `plaintext for other machines needs a permission`() throws {
        let open = try APIAddress("tcp://0.0.0.0:1234")
        let local = try APIAddress("unix:///a")
        #expect(throws: APIServerError.exposed(open)) {
            try APIAddress.checkExposure([local, open], hasTLS: false, allowsPlaintext: false)
        }
        try APIAddress.checkExposure([local, open], hasTLS: true, allowsPlaintext: false)
        try APIAddress.checkExposure([local, open], hasTLS: false, allowsPlaintext: true)
        try APIAddress.checkExposure([local], hasTLS: false, allowsPlaintext: false)
    }

    @Test func `an address in use is refused, a stale socket is replaced, and a file is left alone`() throws {
        let directory = NSTemporaryDirectory() + "pbaddr-" + UUID().uuidString.prefix(8)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/api.sock"
        let address = try APIAddress("unix://" + path)
        let first = try server([address])
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o660)
        #expect(throws: APIServerError.inUse(address)) { try server([address]) }
        _ = consume first

        let stale = directory + "/stale.sock"
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: stale.utf8) }
        let bound = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(bound == 0)
        close(descriptor)
        #expect(throws: Never.self) { try server([try APIAddress("unix://" + stale)]) }

        let file = directory + "/file"
        #expect(FileManager.default.createFile(atPath: file, contents: Data("x".utf8)))
        #expect(throws: APIServerError.self) { try server([try APIAddress("unix://" + file)]) }
        #expect(FileManager.default.contents(atPath: file) == Data("x".utf8))
    }

    @Test func `a TCP port in use is refused by name, and port 0 becomes a real one`() throws {
        let first = try server([try APIAddress("tcp://127.0.0.1:0")])
        guard case .tcp(_, let port) = first.addresses[0], port != 0 else {
            Issue.record("no port: \(first.addresses)")
            return
        }
        #expect(throws: APIServerError.inUse(first.addresses[0])) { try server(first.addresses) }
    }

    @Test func `a TLS file that can't be read is named`() throws {
        let error = #expect(throws: APIServerError.self) {
            try APIServer(
                addresses: [try APIAddress("tcp://127.0.0.1:0")],
                tls: APITLS(authority: "/nowhere/ca.pem", certificate: "c", key: "k"), backend: RecordingBackend(),
                cluster: LoneNode(), logger: Logger(label: "test"))
        }
        #expect(error?.description == "--tlscacert '/nowhere/ca.pem': no such file")
    }

    private func server(_ addresses: [APIAddress]) throws -> APIServer {
        try APIServer(
            addresses: addresses, tls: nil, backend: RecordingBackend(), cluster: LoneNode(),
            logger: Logger(label: "test"))
    }
}
