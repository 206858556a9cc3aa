package import ClusterModel
internal import UVLoop

extension PeerAddress {
    /// Where to ask the kernel for the way out: addresses of no host (RFC 5737, RFC 3849); nothing is sent there.
    private static let routeTargets = [
        SocketAddress(host: "192.0.2.1", port: 9), SocketAddress(host: "2001:db8::1", port: 9),
    ]

    /// What peers can reach a socket at that is bound to `bound`, the best first; none when there is no such address.
    ///
    /// For a socket on all addresses: those of the routes to `seeds`, then those of the default routes, then those of the
    /// interfaces; one IPv4 and, for an IPv6 socket, one IPv6 address.
    package static func reachable(at bound: PeerAddress, seeds: [PeerAddress]) -> [PeerAddress] {
        guard SocketAddress(bound).isWildcard else { return [bound] }
        let isDual = bound.host == "::"
        let targets = seeds.map { SocketAddress($0) } + routeTargets
        var found: [SocketAddress] = []
        for address in targets.compactMap({ SocketAddress.ofRoute(to: $0) }) + NetworkInterface.all.map(\.address) {
            guard !address.isWildcard, !address.isLinkLocal, isDual || !address.isIPv6,
                !found.contains(where: { $0.isIPv6 == address.isIPv6 })
            else { continue }
            found.append(address)
        }
        return found.map { PeerAddress(host: $0.host, port: bound.port) }
    }
}
