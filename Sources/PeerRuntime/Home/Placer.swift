internal import CacheMap
internal import ClusterModel
internal import Gossip
internal import LLB
internal import Logging
internal import OCI
internal import Snapshots
internal import Solver

/// Where a segment goes, with everything that was weighed.
struct PlacementDecision: Sendable {
    var node: PeerID
    var candidates: [RankedCandidate]
}

/// Chooses nodes for segments: gossiped load narrows the choice, the best few are asked, and the least score wins.
actor Placer {
    private let dialer: any PeerDialer
    private let snapshots: SnapshotStore
    private let slots: Slots
    private let cluster: ClusterShell
    private let logger: Logger
    private var estimates = RunTimeEstimates()
    private var linkRates: [PeerID: Double] = [:]
    /// Vertices that this home gave to a node and that have not come back.
    private var outstanding: [PeerID: Int] = [:]
    private var isDeciding = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(dialer: any PeerDialer, snapshots: SnapshotStore, slots: Slots, cluster: ClusterShell, logger: Logger) {
        self.dialer = dialer
        self.snapshots = snapshots
        self.slots = slots
        self.cluster = cluster
        self.logger = logger
    }

    /// Decides, and counts the vertex as given to that node until `ended`.
    func place(_ assignment: Assignment, platform: Platform?, segment: [String]) async -> PlacementDecision {
        // One at a time: two branches that are decided at once would both see the same idle node.
        await enter()
        defer { leave() }
        let decision = await decide(assignment, platform, segment)
        outstanding[decision.node, default: 0] += 1
        return decision
    }

    /// The vertex came back from its node.
    func ended(on node: PeerID) {
        outstanding[node, default: 1] -= 1
    }

    func ran(_ name: String, seconds: Double) {
        estimates.record(RunTimeEstimates.coarse(name), seconds: seconds)
    }

    /// Learns the rate of a pull to a node.
    func pulled(bytes: Int64, seconds: Double, by node: PeerID) {
        guard bytes > 1 << 20, seconds > 0 else { return }
        let rate = Double(bytes) / seconds
        linkRates[node] = linkRates[node].map { $0 + (rate - $0) * RunTimeEstimates.newestWeight } ?? rate
    }

    private func enter() async {
        guard isDeciding else {
            isDeciding = true
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    private func leave() {
        guard !waiting.isEmpty else {
            isDeciding = false
            return
        }
        waiting.removeFirst().resume()
    }

    private func decide(
        _ assignment: Assignment, _ platform: Platform?, _ segment: [String]
    ) async -> PlacementDecision {
        let home = dialer.selfID
        let peers = dialer.livePeers.filter { member in
            member.state == .alive && !member.load.isDraining && !assignment.excluded.contains(member.id)
                && Self.runs(platform, on: member)
        }
        // A segment stays where it began.
        if let node = assignment.node, node == home || peers.contains(where: { $0.id == node }),
            !assignment.excluded.contains(node)
        {
            return PlacementDecision(node: node, candidates: [])
        }
        let layers = Self.layers(of: assignment)
        let seconds = segment.reduce(0) { $0 + estimates.expected(RunTimeEstimates.coarse($1)) }
        let primary = assignment.inputs.first?.chain.layers.count ?? 0
        var candidates: [Candidate] = []
        if !cluster.isDraining || peers.isEmpty { candidates.append(here(layers, primary)) }
        let holders = assignment.inputs.first?.holders ?? []
        let known = Self.able(peers, needsOne: candidates.isEmpty).map { rough($0, layers, holders: holders) }
        let best = Placement.rank(known, runSeconds: seconds, home: home, key: assignment.key.digest)
        candidates += await ask(best.prefix(Placement.askedMax).map(\.candidate), layers, primary)
        let ranked = Placement.rank(candidates, runSeconds: seconds, home: home, key: assignment.key.digest)
        return PlacementDecision(node: ranked.first?.candidate.peer ?? home, candidates: ranked)
    }

    /// Those that are not strained; all when they all are and one is needed: better late than nowhere.
    static func able(_ peers: [Member], needsOne: Bool) -> [Member] {
        let able = peers.filter { !$0.isStrained }
        return able.isEmpty && needsOne ? peers : able
    }

    private static func runs(_ platform: Platform?, on member: Member) -> Bool {
        guard let platform, !member.platforms.isEmpty else { return true }
        return member.platforms.contains { Platform($0)?.architecture == platform.architecture }
    }

    /// The layers that have to be on the executor: inputs of the first vertex, and those of later ones that exist.
    private static func layers(of assignment: Assignment) -> [LayerDescriptor] {
        var seen: Set<Digest> = []
        return (assignment.inputs + assignment.sideInputs).flatMap(\.chain.layers).filter {
            seen.insert($0.id).inserted
        }
    }

    private func here(_ layers: [LayerDescriptor], _ primary: Int) -> Candidate {
        let load = slots.current
        let missing = layers.filter { !snapshots.contains($0.id) }
        return Candidate(
            peer: dialer.selfID, slots: slots.count,
            running: max(load.running, min(slots.count, outstanding[dialer.selfID] ?? 0)),
            queued: max(load.queued, (outstanding[dialer.selfID] ?? 0) - slots.count),
            bytesToPull: missing.totalBytes, linkRate: rate(to: dialer.selfID),
            holdsPrimaryInput: primary > 0 && layers.prefix(primary).allSatisfy { snapshots.contains($0.id) })
    }

    /// What gossip says of a peer; good enough to decide whom to ask.
    private func rough(_ member: Member, _ layers: [LayerDescriptor], holders: [PeerID]) -> Candidate {
        let given = outstanding[member.id] ?? 0
        let slots = max(1, member.slots)
        return Candidate(
            peer: member.id, slots: slots, running: max(Int(member.load.running), min(slots, given)),
            queued: max(Int(member.load.queued), given - slots),
            bytesToPull: holders.contains(member.id) ? 0 : layers.totalBytes,
            linkRate: rate(to: member.id), holdsPrimaryInput: holders.contains(member.id))
    }

    private func ask(_ candidates: [Candidate], _ layers: [LayerDescriptor], _ primary: Int) async -> [Candidate] {
        let calls = PeerCalls(dialer: dialer)
        let given = outstanding
        let answers = await withTaskGroup(of: (Int, Candidate?).self) { group in
            for (index, candidate) in candidates.enumerated() {
                group.addTask {
                    guard let offer = try? await calls.offer(layers, primary: primary, at: candidate.peer),
                        !offer.draining
                    else { return (index, nil) }
                    let slots = max(1, Int(offer.slots))
                    let count = given[candidate.peer] ?? 0
                    return (
                        index,
                        Candidate(
                            peer: candidate.peer, slots: slots, running: max(Int(offer.running), min(slots, count)),
                            queued: max(Int(offer.queued), count - slots), bytesToPull: max(0, offer.missingBytes),
                            linkRate: candidate.linkRate, speed: offer.speed > 0 ? offer.speed : 1,
                            holdsPrimaryInput: offer.holdsPrimary)
                    )
                }
            }
            var answers: [(Int, Candidate?)] = []
            for await answer in group { answers.append(answer) }
            return answers
        }
        return answers.sorted { $0.0 < $1.0 }.compactMap(\.1)
    }

    private func rate(to node: PeerID) -> Double { linkRates[node] ?? Placement.linkRateDefault }
}
