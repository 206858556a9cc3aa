internal import ClusterModel
internal import Gossip
internal import Logging
internal import Sodium
internal import Wire

/// Keeps the node's key ring, on disk and in its links, equal to that of the other members while keys change.
///
/// Members exchange whole rings, which merge in any order (`ClusterKeyRing`). It happens when a ring changes here, when a
/// member's load record shows another key set, and when somebody seals with another key: a node that was away then gets
/// what it missed under the key that it has.
actor KeyShell {
    /// How long members may take to show a change before the operator is told who does not.
    static let agreementLimit = Duration.seconds(30)
    private static let exchangeLimit = Duration.seconds(5)
    private static let pollInterval = Duration.milliseconds(100)
    private static let sweepInterval = Duration.seconds(2)
    /// Members that are spoken to at once.
    private static let exchangesAtOnce = 8

    private let links: PeerLinks
    private let cluster: ClusterShell
    private let path: String
    private let graceSeconds: UInt64
    private let logger: Logger
    private let loadChanged: @Sendable () async -> Void
    private let mapKeyChanged: @Sendable ([UInt8]) async -> Void
    private var ring: ClusterKeyRing
    private var isRotating = false
    /// Rings exchanged with peers, and those that failed, since the start.
    private(set) var exchanges: UInt64 = 0
    private(set) var exchangesFailed: UInt64 = 0

    /// `ring` is what the links use now; changes go to `path`.
    init(
        ring: ClusterKeyRing, links: PeerLinks, cluster: ClusterShell, path: String, graceSeconds: UInt64,
        logger: Logger, loadChanged: @escaping @Sendable () async -> Void,
        mapKeyChanged: @escaping @Sendable ([UInt8]) async -> Void
    ) {
        self.ring = ring
        self.links = links
        self.cluster = cluster
        self.path = path
        self.graceSeconds = graceSeconds
        self.logger = logger
        self.loadChanged = loadChanged
        self.mapKeyChanged = mapKeyChanged
    }

    /// What the load record shows of the ring.
    var keySet: UInt16 { UInt16(truncatingIfNeeded: ring.setHash) }

    var view: [KeyView] {
        ring.entries.enumerated().map { index, entry in
            KeyView(
                fingerprint: "\(entry.fingerprint)", state: entry.isRetired ? .retired : index == 0 ? .seals : .opens,
                generation: entry.generation, retiredUntil: entry.retiredUntil)
        }
    }

    // MARK: Repair

    /// Repairs differences until the task is cancelled.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await other in self.links.otherKeys { await self.exchange(with: other.peer, at: other.address) }
            }
            group.addTask {
                while !Task.isCancelled {
                    await self.sweep()
                    try? await Task.sleep(for: Self.sweepInterval)
                }
            }
        }
    }

    private func sweep() async {
        guard ring.isSecret else { return }
        var fresh = ring
        if fresh.expire(at: PeerLinks.unixSeconds) { await take(fresh, "a retired key's grace is over") }
        await exchange(withAll: differing())
    }

    private func differing() -> [Member] {
        let own = keySet
        return cluster.livePeers.filter { $0.load.keySet != own }
    }

    private func exchange(withAll members: [Member]) async {
        await withTaskGroup(of: Void.self) { group in
            for (index, member) in members.enumerated() {
                if index >= Self.exchangesAtOnce { await group.next() }
                group.addTask { _ = await self.exchange(with: member.id, at: member.address) }
            }
        }
    }

    /// Tells a peer the own ring and takes what it knows; returns its ring after that, nil when it did not answer.
    @discardableResult
    private func exchange(with peer: PeerID, at address: PeerAddress) async -> ClusterKeyRing? {
        guard ring.isSecret else { return nil }
        let (links, message) = (links, ring.encoded())
        do {
            let answer = try await withDeadline(
                Self.exchangeLimit, timeout: PeerCallError.timedOut(service: PeerService.keys.rawValue, peer)
            ) {
                let stream = try await links.open(PeerService.keys.rawValue, to: address, expecting: peer)
                return try await withTaskCancellationHandler {
                    defer { stream.reset() }
                    try await stream.send(message)
                    await stream.finish()
                    guard let answer = try await stream.receive() else { throw PeerCallError.ended }
                    return answer
                } onCancel: {
                    stream.reset()
                }
            }
            let theirs = try ClusterKeyRing(decoding: answer)
            exchanges += 1
            await merge(theirs, from: peer)
            return theirs
        } catch {
            exchangesFailed += 1
            logger.debug("key rings were not exchanged", metadata: ["peer": "\(peer)", "error": "\(error)"])
            return nil
        }
    }

    /// Serves a peer's exchange: takes its ring, answers with what both know together.
    func serve(_ stream: any PeerStream) async throws {
        guard let message = try await stream.receive() else { return }
        let theirs = try ClusterKeyRing(decoding: message)
        await merge(theirs, from: nil)
        try await stream.send(ring.encoded())
        await stream.finish()
    }

    private func merge(_ other: ClusterKeyRing, from peer: PeerID?) async {
        var merged = ring
        guard merged.merge(other, at: PeerLinks.unixSeconds) else { return }
        await take(merged, peer.map { "node \(cluster.name(of: $0)) knew more" } ?? "a peer knew more")
    }

    /// Makes `fresh` the ring of this node: on disk first, so that a restart never falls back.
    private func take(_ fresh: ClusterKeyRing, _ why: String) async {
        let hadPrimary = ring.entries[0].fingerprint
        let hadMapKey = ring.mapKey
        do {
            try fresh.keep(at: path)
            // No await between the look at the ring and this: another change cannot be lost in between.
            ring = fresh
            try await links.replaceKeys(fresh)
        } catch {
            return logger.error("the key ring is not kept", metadata: ["path": "\(path)", "error": "\(error)"])
        }
        logger.notice(
            "the cluster keys changed: \(why)",
            metadata: [
                "seals": "\(fresh.entries[0].fingerprint)", "sealed": "\(hadPrimary)",
                "inService": "\(fresh.installed.count)", "retired": "\(fresh.entries.count - fresh.installed.count)",
            ])
        if fresh.mapKey != hadMapKey { await mapKeyChanged(fresh.mapKey) }
        await loadChanged()
    }

    // MARK: Operator

    /// Carries out an operator's word, here and at all live members.
    func change(_ change: KeyChange) async throws {
        switch change {
        case .list: return
        case .install(let text):
            let key = try ClusterKey(base64: text, place: "the key to install")
            try await apply("install") { try $0.install(key) }
        case .use(let name):
            try await apply("use") { try $0.use(try $0.key(named: name)) }
        case .remove(let name):
            let grace = graceSeconds
            try await apply("remove") {
                try $0.remove(try $0.key(named: name), graceSeconds: grace, now: PeerLinks.unixSeconds)
            }
        case .rotate: try await rotate()
        }
    }

    private func apply(_ step: String, _ change: (inout ClusterKeyRing) throws -> Void) async throws {
        var fresh = ring
        try change(&fresh)
        if fresh != ring { await take(fresh, "an operator's \(step)") }
        try await agree(step)
    }

    /// Installs a new key everywhere, then lets it seal everywhere, then retires the others everywhere.
    ///
    /// A rotation that was interrupted after its first step goes on with the key that is installed already.
    private func rotate() async throws {
        guard ring.isSecret else { throw KeyRingError.noKey }
        guard !isRotating else { throw KeyShellError.rotating }
        isRotating = true
        defer { isRotating = false }
        let waiting = ring.installed.dropFirst().first { $0.generation == 0 }?.key
        let key = try waiting ?? .generate()
        try await apply("install") { try $0.install(key) }
        try await apply("use") { try $0.use(key.fingerprint) }
        let grace = graceSeconds
        try await apply("remove") { ring in
            for entry in ring.installed.dropFirst() {
                try ring.remove(entry.fingerprint, graceSeconds: grace, now: PeerLinks.unixSeconds)
            }
        }
    }

    /// Returns when every live member has shown the own key set, in its load record or by its own word.
    private func agree(_ step: String) async throws {
        let deadline = ContinuousClock.now + Self.agreementLimit
        var agreed: Set<PeerID> = []
        while true {
            let own = keySet
            let pending = differing().filter { !agreed.contains($0.id) }
            if pending.isEmpty { return }
            guard ContinuousClock.now < deadline else {
                throw KeyShellError.notEverywhere(step: step, members: pending.map(\.name).sorted())
            }
            for (id, ring) in await rings(of: pending) where UInt16(truncatingIfNeeded: ring.setHash) == own {
                agreed.insert(id)
            }
            try await Task.sleep(for: Self.pollInterval)
        }
    }

    private func rings(of members: [Member]) async -> [(PeerID, ClusterKeyRing)] {
        await withTaskGroup(of: (PeerID, ClusterKeyRing)?.self) { group in
            var found: [(PeerID, ClusterKeyRing)] = []
            for (index, member) in members.enumerated() {
                if index >= Self.exchangesAtOnce, let answer = await group.next() {
                    found += [answer].compactMap(\.self)
                }
                group.addTask {
                    guard let ring = await self.exchange(with: member.id, at: member.address) else { return nil }
                    return (member.id, ring)
                }
            }
            for await answer in group { found += [answer].compactMap(\.self) }
            return found
        }
    }
}

/// Why a change of keys did not get everywhere.
enum KeyShellError: Error, CustomStringConvertible {
    case rotating
    case notEverywhere(step: String, members: [String])

    var description: String {
        switch self {
        case .rotating: "this node is rotating the keys already; wait for it, see `peerbuild keys list`"
        case .notEverywhere(let step, let members):
            "\(step): these members do not show the new key set yet: \(members.joined(separator: ", ")). "
                + "Nothing is lost: they take it when they answer again. See that they do with `peerbuild status`, "
                + "then repeat the command"
        }
    }
}
