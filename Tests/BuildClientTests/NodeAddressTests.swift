internal import BuildClient
internal import Testing

@Suite struct NodeAddressTests {
    @Test(arguments: [
        ("unix:///run/x.sock", NodeAddress.unix(path: "/run/x.sock")), ("tcp://h:1", .tcp(host: "h", port: 1)),
        ("tcp://[::1]:65535", .tcp(host: "::1", port: 65_535)),
    ])
    func `addresses are read and written`(text: String, address: NodeAddress) throws {
        #expect(try NodeAddress(parsing: text) == address)
        #expect(address.description == text)
    }

    @Test(arguments: [
        "", "unix://relative", "tcp://", "tcp://h", "tcp://:1", "tcp://h:0", "tcp://h:65536", "http://h:1", "tcp:/",
    ])
    func `texts that are no address are refused`(text: String) {
        #expect(throws: NodeAddressError.self) { try NodeAddress(parsing: text) }
    }

    @Test func `nobody at any address is one error that names them all`() async throws {
        let addresses: [NodeAddress] = [.unix(path: "/no/such/socket"), .tcp(host: "127.0.0.1", port: 1)]
        let error = await #expect(throws: UnreachableError.self) {
            _ = try await NodeConnection.firstListening(addresses)
        }
        #expect(error?.failures.map(\.address) == addresses)
    }

    @Test func `an excerpt marks the lines of a failure`() {
        let source = BuildFailure.Source(filename: "Dockerfile", text: "FROM a\n\nRUN b\nRUN c\n", ranges: [3...3])
        #expect(
            source.excerpt == """
                Dockerfile:3
                --------------------
                   1 |     FROM a
                   2 |     
                   3 | >>> RUN b
                   4 |     RUN c
                   5 |     
                --------------------

                """)
    }
}
