internal import ClusterModel
internal import Logging
internal import Wire

/// The seeds that a node was given, what their names meant when they were last looked up, and what went wrong.
actor SeedBook {
    private struct Entry {
        let name: String
        var addresses: [PeerAddress] = []
        var error: String?
    }

    private let links: PeerLinks
    private let logger: Logger
    private var entries: [Entry]
    /// One line per name and minute.
    private var causes = CauseLog<String>()
    /// Times that a name meant nothing.
    private(set) var failures: UInt64 = 0

    init(seeds: [String], links: PeerLinks, logger: Logger) {
        self.links = links
        self.logger = logger
        entries = seeds.map { Entry(name: $0) }
    }

    /// Nodes that multicast DNS shows on this link now.
    private var onLink: [PeerAddress]?

    /// Takes what multicast DNS shows instead of what it showed before.
    func foundOnLink(_ addresses: [PeerAddress]) { onLink = addresses }

    /// Looks all names up again; what does not resolve now is left out and tried again with the next call.
    func lookUp() async -> [PeerAddress] {
        for index in entries.indices {
            let name = entries[index].name
            guard let seed = SeedName(name) else {
                failed(index, "it is neither HOST:PORT nor a DNS name")
                continue
            }
            do {
                entries[index].addresses = try await links.resolve(seed)
                if entries[index].error != nil { logger.info("seed \(name) resolves again") }
                entries[index].error = nil
            } catch {
                failed(index, "\(error)")
            }
        }
        return entries.flatMap(\.addresses) + (onLink ?? [])
    }

    private func failed(_ index: Int, _ reason: String) {
        entries[index].error = reason
        entries[index].addresses = []
        failures += 1
        guard causes.due(entries[index].name, at: .now) != nil else { return }
        logger.warning("seed \(entries[index].name): \(reason); it is tried again until it resolves")
    }

    var views: [SeedView] {
        var views = entries.map {
            SeedView(name: $0.name, addresses: $0.addresses.map(\.description), error: $0.error)
        }
        if let onLink { views.append(SeedView(name: "mdns", addresses: onLink.map(\.description), error: nil)) }
        return views
    }
}
