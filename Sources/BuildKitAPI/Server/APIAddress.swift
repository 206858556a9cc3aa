/// Where a node serves its clients: `unix:///path` or `tcp://host:port`.
package enum APIAddress: Sendable, Hashable {
    case unix(path: String)
    /// `host` is a name or an address, IPv6 without brackets; port 0 takes any free one.
    case tcp(host: String, port: UInt16)

    /// Longest path that fits `sockaddr_un` with its final zero.
    static let pathBytesMax = 107

    /// Parses an address as users write it.
    package init(_ text: String) throws(APIServerError) {
        if text.hasPrefix("unix://") {
            let path = String(text.dropFirst("unix://".count))
            guard path.hasPrefix("/") else {
                throw .badAddress(
                    text, reason: "a Unix socket needs an absolute path, such as unix:///run/peerbuild.sock")
            }
            guard path.utf8.count <= Self.pathBytesMax, !path.utf8.contains(0) else {
                throw .badAddress(
                    text,
                    reason: "the path of a Unix socket is at most \(Self.pathBytesMax) bytes; choose a shorter one")
            }
            self = .unix(path: path)
        } else if text.hasPrefix("tcp://") {
            let rest = text.dropFirst("tcp://".count)
            guard let colon = rest.lastIndex(of: ":"), let port = UInt16(rest[rest.index(after: colon)...]) else {
                throw .badAddress(text, reason: "expected tcp://HOST:PORT with a port from 0 to 65535")
            }
            var host = rest[..<colon]
            if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
            guard !host.isEmpty, !host.contains(where: { "[]/".contains($0) }) else {
                throw .badAddress(text, reason: "expected tcp://HOST:PORT; use 0.0.0.0 or [::] for every interface")
            }
            self = .tcp(host: String(host), port: port)
        } else {
            throw .badAddress(text, reason: "expected unix:///PATH or tcp://HOST:PORT")
        }
    }

    /// Whether only this machine can reach the address.
    package var isLocal: Bool {
        switch self {
        case .unix: true
        case .tcp(let host, _): host == "localhost" || host == "::1" || Self.isLoopbackIPv4(host)
        }
    }

    /// Refuses plaintext that other machines could reach.
    ///
    /// - Throws: `APIServerError.exposed` for the first address that needs TLS or an explicit permission.
    package static func checkExposure(
        _ addresses: [APIAddress], hasTLS: Bool, allowsPlaintext: Bool
    ) throws(APIServerError) {
        guard !hasTLS, !allowsPlaintext else { return }
        for address in addresses where !address.isLocal { throw .exposed(address) }
    }

    private static func isLoopbackIPv4(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}

extension APIAddress: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unix(let path): "unix://" + path
        case .tcp(let host, let port): "tcp://" + (host.contains(":") ? "[\(host)]" : host) + ":\(port)"
        }
    }
}
