package import ClusterModel
internal import UVLoop

/// One way to other nodes as an operator wrote it.
package enum SeedName: Hashable, Sendable, CustomStringConvertible {
    /// `HOST:PORT`, whose host is an address or a DNS name.
    case endpoint(PeerAddress)
    /// A DNS name without a port: its SRV records are looked up, and its own addresses when it has none.
    case service(String)

    /// What SRV records of a bare name are called (RFC 2782).
    package static let servicePrefix = "_peerbuild._udp."
    /// The port of a bare name without SRV records.
    package static let defaultPort: UInt16 = 7_946
    /// RFC 1035, 2.3.4.
    private static let nameBytesMax = 253

    /// Parses a seed; nil when it is neither.
    package init?(_ text: String) {
        if let address = PeerAddress(text), address.port > 0 {
            self = .endpoint(address)
            return
        }
        let isName = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        guard isName, (1...Self.nameBytesMax).contains(text.utf8.count) else { return nil }
        self = .service(text)
    }

    package var description: String {
        switch self {
        case .endpoint(let address): "\(address)"
        case .service(let name): name
        }
    }
}

extension PeerLinks {
    /// All addresses that a seed means now, best first; names are asked of the resolver each time.
    package func resolve(_ seed: SeedName) async throws -> [PeerAddress] {
        switch seed {
        case .endpoint(let address): return try await addresses(of: address)
        case .service(let name): return try await service(name)
        }
    }

    private func service(_ name: String) async throws -> [PeerAddress] {
        let isWhole = name.hasPrefix("_")
        do {
            let records = try await loop.serviceRecords(of: isWhole ? name : SeedName.servicePrefix + name)
            var found: [PeerAddress] = []
            var failure: (any Error)?
            for record in records {
                do {
                    found += try await addresses(of: PeerAddress(host: record.target, port: record.port))
                } catch {
                    failure = error
                }
            }
            if let failure, found.isEmpty { throw failure }
            guard found.isEmpty else { return found }
        } catch let error as ServiceLookupError {
            guard !isWhole else { throw WireError.unresolved(name: name, reason: error.reason) }
        }
        guard !isWhole else { throw WireError.unresolved(name: name, reason: "it has no SRV records") }
        return try await addresses(of: PeerAddress(host: name, port: SeedName.defaultPort))
    }

    private func addresses(of endpoint: PeerAddress) async throws -> [PeerAddress] {
        do {
            return try await loop.resolve(host: endpoint.host, port: endpoint.port).map { PeerAddress($0) }
        } catch {
            throw WireError.unresolved(name: endpoint.host, reason: error.description)
        }
    }
}
