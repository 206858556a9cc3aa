/// Where a node or a buildkitd listens for clients.
package enum NodeAddress: Sendable, Hashable, CustomStringConvertible {
    case unix(path: String)
    case tcp(host: String, port: Int)

    /// The socket of a node on this machine.
    package static let standard = NodeAddress.unix(path: "/run/peerbuild/peerbuild.sock")

    /// Parses `unix:///PATH` or `tcp://HOST:PORT`.
    package init(parsing text: String) throws(NodeAddressError) {
        if text.hasPrefix("unix://") {
            let path = String(text.dropFirst("unix://".count))
            guard path.hasPrefix("/"), path.utf8.count < 108 else { throw .malformed(text) }
            self = .unix(path: path)
            return
        }
        guard text.hasPrefix("tcp://"), let colon = text.lastIndex(of: ":") else { throw .malformed(text) }
        var host = String(
            text[
                text.index(
                    text.startIndex, offsetBy: "tcp://".count)..<max(colon, text.index(text.startIndex, offsetBy: 6))])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty, let port = Int(text[text.index(after: colon)...]), (1...65_535).contains(port) else {
            throw .malformed(text)
        }
        self = .tcp(host: host, port: port)
    }

    /// Parses a comma-separated list; the first one that answers is used.
    package static func list(_ text: String) throws(NodeAddressError) -> [NodeAddress] {
        var addresses: [NodeAddress] = []
        for part in text.split(separator: ",") { addresses.append(try NodeAddress(parsing: String(part))) }
        guard !addresses.isEmpty else { throw .malformed(text) }
        return addresses
    }

    package var description: String {
        switch self {
        case .unix(let path): "unix://\(path)"
        case .tcp(let host, let port): host.contains(":") ? "tcp://[\(host)]:\(port)" : "tcp://\(host):\(port)"
        }
    }
}

/// Why a text is no address.
package enum NodeAddressError: Error, Hashable, CustomStringConvertible {
    case malformed(String)

    package var description: String {
        switch self {
        case .malformed(let text):
            "address \"\(text)\" is neither unix:///PATH nor tcp://HOST:PORT (see --addr and PEERBUILD_HOST)"
        }
    }
}
