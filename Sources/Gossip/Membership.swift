package import ClusterModel

/// One node's part in the membership protocol: SWIM with Lifeguard's refinements, as a state machine.
///
/// Give each event with the present time and carry out the effects in order. Start with `.join`, also without seeds.
/// One wake is outstanding at most; an event that arrives more than T/4 behind the wake means that this process was
/// stopped or overloaded: probes under way are void and suspicions get the time back. Equal events, times and random
/// seeds give equal effects. `Protocol.md` has the messages, states and invariants.
package struct Membership: Sendable {
    /// Longest user record, in bytes, that any member accepts.
    package static let userRecordBytesMax = 1_000
    /// Origin, boot id and number in front of a user record.
    static let userRecordHeaderBytes = 20
    /// Longest direct record, in bytes, that any member accepts: it fills a datagram of 1,400.
    static let directRecordBytesMax = 1_400

    let configuration: GossipConfiguration
    let selfID: PeerID
    var bootID: UInt64
    var random: SplitMix64
    var schedule: ProbeSchedule
    var table: MemberTable
    var dissemination: Dissemination
    var antiEntropy = AntiEntropy()
    var joining: JoinSchedule
    var health = LocalHealth()
    /// In order of their start.
    var probes: [Probe] = []
    var relayed: [RelayedProbe] = []

    var nextRoundAt: MonotonicInstant?
    var nextPushAt: MonotonicInstant?
    /// The earliest instant at which an accusation may need attention.
    var nextJudgeAt: MonotonicInstant?
    var persistAt: MonotonicInstant?
    /// Not before this instant.
    var persistAllowedAt: MonotonicInstant
    var leaveAt: MonotonicInstant?
    var stage = LifeStage.waiting
    /// Until when this node says that its loop was late.
    private var stalledUntil: MonotonicInstant?
    /// So long it says so, in periods: its probes have been answered again by then.
    static let stalledPeriods = 5
    /// When the outstanding wake is due.
    private var armedAt: MonotonicInstant?

    var publishedSequence: UInt32 = 0
    var loadPushAllowedAt: MonotonicInstant
    var twin: IdentityConflict
    /// The boot id above which the shell was asked for another.
    var bootWantedAbove: UInt64?
    var hasNewMetadata = false
    /// Answered by stream only: probed again in the next round.
    var followUps: [PeerID] = []
    /// Own probes in a row that only a stream answered.
    var ownStreamOnly = 0
    var mapRoots: MapRoots
    var observations = AddressObservations()
    /// Grows with each change of this node's holdings.
    var holdingsVersion: UInt32 = 0
    package internal(set) var counters = GossipCounters()
    var effects: [Effect] = []

    enum LifeStage: Hashable, Sendable { case waiting, running, leaving, left }

    /// Makes a node that knows itself alone.
    ///
    /// `id` is stable over restarts. `bootID` is higher at every start of the same node. `metadata` takes at most 320
    /// bytes encoded. The `remembered` members of the last run are asked while this node is alone; those of a `census` are
    /// known at once.
    package init(
        configuration: GossipConfiguration, id: PeerID, bootID: UInt64, metadata: MemberMetadata,
        remembered: [MemberSnapshot] = [], census: MemberCensus? = nil, random: SplitMix64, now: MonotonicInstant
    ) throws(GossipConfigurationError) {
        if let fault = configuration.fault { throw fault }
        try metadata.validate()
        self.configuration = configuration
        selfID = id
        self.bootID = bootID
        self.random = random
        schedule = ProbeSchedule(period: configuration.period, wallClockOffset: configuration.wallClockOffset, id: id)
        table = census?.table ?? MemberTable(at: now)
        dissemination = Dissemination(bytesPerSecond: configuration.bytesPerSecond, at: now)
        joining = JoinSchedule(remembered: remembered, own: id)
        mapRoots = MapRoots(at: now)
        persistAllowedAt = now
        loadPushAllowedAt = now
        twin = IdentityConflict(startedAt: now)
        var load = LoadRecord()
        load.slots = metadata.slots
        load.sequence = 1
        table.set(
            MemberTable.Entry(
                member: Member(id: id, bootID: bootID, incarnation: 0, state: .alive, metadata: metadata, load: load)),
            at: now)
    }

    // MARK: View

    /// This node as others should see it.
    package var own: Member {
        table[selfID]?.member
            ?? Member(
                id: selfID, bootID: bootID, incarnation: 0, state: .left,
                metadata: MemberMetadata(name: "", address: PeerAddress(host: "", port: 0)), load: LoadRecord())
    }

    var ownLoad: LoadRecord { table.load(of: selfID) ?? LoadRecord() }
    var ownIncarnation: UInt32 { table.incarnation(of: selfID) ?? 0 }

    /// All known members, this node included, sorted by id; the dead and departed for `tombstoneLifetime`.
    package var members: [Member] { table.members }

    package func member(_ id: PeerID) -> Member? { table[id]?.member }

    /// Members that are alive or suspect, this node included.
    package var upCount: Int { table.up.count }

    /// Whether any member is suspect here.
    package var hasSuspects: Bool { table.accused.contains { table.suspicions[$0]?.isPublic == true } }

    /// Equal at two nodes when they know the same members as up, with boots and incarnations.
    package var stateHash: UInt64 { table.stateHash }

    /// 0 well … 7: how much this node stretches its waits because it may itself be slow or cut off.
    package var localHealthScore: Int { health.score }

    /// Longest record that `.publish` takes with this `packetLimit`, in bytes.
    package var publishBytesMax: Int {
        min(
            Self.userRecordBytesMax,
            configuration.datagramBytesMax - Codec.frameBytesMax - Self.userRecordHeaderBytes)
    }

    /// Longest record that `.sendDirect` takes, in bytes.
    package var directBytesMax: Int {
        min(Self.directRecordBytesMax, configuration.datagramBytesMax - Codec.frameBytesMax)
    }

    /// All counters, those of the news that ride and are pushed included.
    package var report: GossipCounters {
        var report = counters
        let news = dissemination.sentBytes
        report.sentBytes.membership += news[0]
        report.sentBytes.load = news[1]
        report.sentBytes.user = news[2]
        report.dropped.heldBack = dissemination.heldBack
        return report
    }

    // MARK: Events

    package mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
        effects.removeAll(keepingCapacity: true)
        guard stage != .left else {
            switch event {
            case .exchangeRequested(let token, _): return [.answerExchange(token: token, nil)]
            // Who gave up its identity has nobody to tell.
            case .leave: return [.leaveFinished]
            default: return []
            }
        }
        noticeLateness(at: now)
        switch event {
        case .join(let seeds): join(seeds, at: now)
        case .seedsResolved(let addresses): seedsResolved(addresses, at: now)
        case .datagram(let bytes, let source, let sender, let boot):
            receive(bytes, from: Origin(id: sender, bootID: boot, source: source), at: now)
        case .timer:
            armedAt = nil
            runDue(at: now)
        case .sendFailed(let address): sendFailed(to: address, at: now)
        case .connectFinished(let token, let outcome): connectFinished(token, outcome, at: now)
        case .exchangeAnswered(let id, let bytes): exchangeAnswered(id, bytes, at: now)
        case .exchangeFailed(let id): exchangeFailed(antiEntropy.end(id), at: now)
        case .exchangeRequested(let token, let bytes): exchangeRequested(token, bytes, at: now)
        case .loadChanged(let load): changeLoad(load, at: now)
        case .holdingsChanged(let holdings): changeHoldings(holdings)
        case .mapRootChanged(let root): mapRoots.change(to: root, at: now)
        case .draining(let draining): setFlag(.draining, draining, at: now)
        case .metadataChanged(let metadata): changeMetadata(metadata, at: now)
        case .wallClockRead(let offset): schedule.wallClockRead(offset: offset, id: selfID)
        case .publish(let bytes, let isUrgent): publish(bytes, isUrgent: isUrgent, at: now)
        case .sendDirect(let bytes, let peer): sendDirect(bytes, to: peer, at: now)
        case .bootTaken(let boot): bootTaken(boot, at: now)
        case .leave: leave(at: now)
        }
        arm(at: now)
        return effects
    }

    private mutating func noticeLateness(at now: MonotonicInstant) {
        guard let armed = armedAt, now - armed > configuration.period / 4 else { return }
        let late = now - armed
        armedAt = nil
        effects.append(.notice(.loopWasLate(late)))
        health.wasLate()
        counters.stalls += 1
        stalledUntil = now + configuration.period * Self.stalledPeriods
        setFlag(.stalled, true, at: now)
        // Answers may lie unread in the socket: nobody is accused for what happened meanwhile.
        probes.removeAll()
        relayed.removeAll()
        for id in table.accused {
            guard table.suspicions[id]?.isPublic == true else {
                setSuspicion(nil, of: id)
                continue
            }
            table.updateSuspicion(id) {
                $0.wasMissed(for: late, at: now)
            }
        }
        nextJudgeAt = table.accused.isEmpty ? nil : now
    }

    private mutating func runDue(at now: MonotonicInstant) {
        guard stage != .waiting else { return }
        if let due = leaveAt, due <= now {
            stage = .left
            effects.append(.leaveFinished)
            return
        }
        if let due = stalledUntil, due <= now {
            stalledUntil = nil
            setFlag(.stalled, false, at: now)
        }
        advanceProbes(at: now)
        expireRelayed(at: now)
        judge(at: now)
        if let due = nextRoundAt, due <= now { startRound(at: now) }
        if stage == .running { contactSeeds(at: now) }
        if let due = nextPushAt, due <= now { push(at: now) }
        if let due = persistAt, due <= now { persist(at: now) }
    }

    /// Asks for a wake at the earliest instant at which something is due.
    private mutating func arm(at now: MonotonicInstant) {
        guard stage == .running || stage == .leaving else { return }
        var soonest = nextRoundAt
        func consider(_ instant: MonotonicInstant?) {
            guard let instant else { return }
            soonest = soonest.map { min($0, instant) } ?? instant
        }
        consider(nextPushAt)
        consider(persistAt)
        consider(leaveAt)
        for probe in probes { consider(probe.nextAt(period: configuration.period)) }
        for probe in relayed { consider(probe.deadline) }
        // A node that leaves judges nobody: what `runDue` passes over must not wake it, or it wakes for ever.
        if stage == .running {
            consider(nextJudgeAt)
            consider(joining.nextAt)
        }
        guard let soonest, soonest != armedAt else { return }
        // What is overdue already is due now: only time lost from here on counts as late.
        let due = max(soonest, now)
        armedAt = due
        effects.append(.wake(at: due))
    }
}
