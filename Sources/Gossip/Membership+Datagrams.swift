internal import ClusterModel

extension Membership {
    // MARK: In

    /// Who sent a datagram, by its seal, and where it came from.
    struct Origin: Hashable, Sendable {
        var id: PeerID
        var bootID: UInt64
        var source: PeerAddress
    }

    mutating func receive(_ bytes: [UInt8], from origin: Origin, at now: MonotonicInstant) {
        guard stage != .waiting else { return }
        counters.received.datagrams += 1
        counters.received.bytes += UInt64(bytes.count)
        guard origin.id != selfID else { return heardOwnIdentity(origin) }
        if let known = table[origin.id]?.member, known.bootID > origin.bootID {
            counters.dropped.oldBoot += 1
            return
        }
        let records: [Record]
        do throws(CodecError) {
            records = try Codec.decode(bytes)
        } catch {
            counters.dropped.malformed += 1
            effects.append(.notice(.malformed(from: origin.source, error)))
            return
        }
        var questions = 0
        for record in records {
            if record.isQuestion {
                questions += 1
                guard questions <= Codec.questionsMax else {
                    counters.dropped.questions += 1
                    continue
                }
            }
            apply(record, from: origin, at: now)
        }
    }

    private mutating func apply(_ record: Record, from origin: Origin, at now: MonotonicInstant) {
        switch record {
        case .ping(let pulse): answer(pulse, of: origin, at: now)
        case .ack(let incarnation, let pulse, let seenAt):
            ackReceived(pulse, incarnation: incarnation, from: origin, at: now)
            if let seenAt { wasSeen(at: seenAt, by: origin.id, now) }
        case .indirectProbe(let number, let subject): relay(number, subject: subject, for: origin.source, at: now)
        case .vouch(let number, let bootID, let incarnation):
            guard let probe = probes.first(where: { $0.number == number && $0.relays.contains(origin.id) })
            else { return }
            counters.probesRelayed += 1
            probeAnswered(number, by: probe.subject, bootID: bootID, incarnation: incarnation, at: now)
        case .nack(let number): nackReceived(number)
        case .alive(let alive): apply(alive, at: now)
        case .claim(let claim): apply(claim, at: now)
        case .load(let id, let bootID, let load, let age):
            apply(load, of: id, bootID: bootID, age: age, passingOn: true, at: now)
        case .holdings(let holdings): apply(holdings, of: origin.id, bootID: origin.bootID)
        case .user(let user): apply(user, at: now)
        case .direct(let bytes): deliverDirect(bytes, from: origin)
        }
    }

    private mutating func heardOwnIdentity(_ origin: Origin) {
        counters.dropped.ownIdentity += 1
        guard origin.bootID >= bootID, !reportedConflict else { return }
        reportedConflict = true
        effects.append(.notice(.identityConflict(origin.source)))
    }

    private mutating func answer(_ pulse: Pulse, of origin: Origin, at now: MonotonicInstant) {
        heard(pulse, from: origin, at: now)
        let entry = table[origin.id]
        let isKnown = entry?.member.bootID == origin.bootID
        var records: [Record] = []
        if let entry, isKnown, let claim = standing(of: entry) { records.append(.claim(claim)) }
        let seenAt = entry.flatMap { isKnown && !$0.member.metadata.isReached(at: origin.source) ? origin.source : nil }
        records.append(.ack(incarnation: own.incarnation, pulseOfSelf(pulse.number), seenAt: seenAt))
        if stage == .leaving { records.append(.claim(farewell)) }
        if own.incarnation > 0, pulse.stateHash != table.stateHash { records.append(.alive(AliveRecord(own))) }
        if isKnown, let news = untoldHoldings(to: origin.id) { records.append(news) }
        send(records, to: origin.source, riding: true, at: now)
        // A stranger: its own question is the only sign that there is somebody.
        if !isKnown { repair(with: origin.id, at: origin.source, now) }
    }

    private mutating func ackReceived(
        _ pulse: Pulse, incarnation: UInt32, from origin: Origin, at now: MonotonicInstant
    ) {
        heard(pulse, from: origin, at: now)
        probeAnswered(pulse.number, by: origin.id, bootID: origin.bootID, incarnation: incarnation, at: now)
        relayAnswered(pulse.number, by: origin.id, bootID: origin.bootID, incarnation: incarnation)
        if pulse.stateHash != table.stateHash { repair(with: origin.id, at: origin.source, now) }
    }

    private mutating func heard(_ pulse: Pulse, from origin: Origin, at now: MonotonicInstant) {
        apply(pulse.load, of: origin.id, bootID: origin.bootID, age: .zero, passingOn: false, at: now)
        guard table[origin.id]?.member.bootID == origin.bootID else { return }
        if mapRoots.differs(pulse.mapRoot, at: now, period: configuration.period) {
            counters.antiEntropy.mapRootDifferences += 1
            effects.append(.mapRootDiffers(origin.id))
        }
    }

    private mutating func deliverDirect(_ bytes: [UInt8], from origin: Origin) {
        guard let member = table[origin.id]?.member, member.isUp, member.bootID == origin.bootID else {
            counters.dropped.directs += 1
            return
        }
        effects.append(.deliverDirect(bytes, from: origin.id))
    }

    /// A member saw this node's datagrams come from an address that this node does not advertise.
    private mutating func wasSeen(at address: PeerAddress, by witness: PeerID, _ now: MonotonicInstant) {
        guard !own.metadata.isReached(at: address), observations.note(address, by: witness, at: now) else { return }
        effects.append(.notice(.advertisedAddressDiffers(seenAt: address)))
        setFlag(.addressDoubtful, true, at: now)
    }

    // MARK: Out

    func pulseOfSelf(_ number: UInt32) -> Pulse {
        Pulse(
            number: number, stateHash: table.stateHash, upCount: UInt16(clamping: table.up.count),
            mapRoot: mapRoots.own, load: own.load)
    }

    private var farewell: Claim {
        Claim(kind: .left, subject: selfID, bootID: bootID, incarnation: own.incarnation, accuser: selfID)
    }

    /// What a member that is not simply alive should hear of itself.
    private func standing(of entry: MemberTable.Entry) -> Claim? {
        let member = entry.member
        let kind: Claim.Kind
        switch member.state {
        case .alive: return nil
        case .suspect: kind = .suspect
        case .dead: kind = .dead
        case .left: return nil
        }
        return Claim(
            kind: kind, subject: member.id, bootID: member.bootID, incarnation: member.incarnation, accuser: selfID)
    }

    mutating func sendPing(to entry: MemberTable.Entry, number: UInt32) {
        // The claim first: the answer then shows the refutation.
        var records: [Record] = []
        if let claim = standing(of: entry) { records.append(.claim(claim)) }
        records.append(.ping(pulseOfSelf(number)))
        if let news = untoldHoldings(to: entry.member.id) { records.append(news) }
        send(records, to: entry.member.address, riding: true)
    }

    /// Sends the records that must go, and with `riding` as much news as fits behind them.
    mutating func send(
        _ records: [Record], to address: PeerAddress, riding: Bool = false, at now: MonotonicInstant? = nil
    ) {
        var framed = records.map(Codec.encode)
        if riding {
            let used = framed.reduce(0) { $0 + $1.count }
            let news = dissemination.take(
                datagrams: 1, budget: configuration.datagramBytesMax - used, members: table.up.count, pushesOnly: false,
                at: now)
            framed += news.first ?? []
        }
        sendFramed(framed, to: address)
    }

    private mutating func sendFramed(_ framed: [[UInt8]], to address: PeerAddress) {
        var writer = ByteWriter(capacity: configuration.datagramBytesMax)
        for record in framed { writer.append(contentsOf: record) }
        counters.sent.datagrams += 1
        counters.sent.bytes += UInt64(writer.bytes.count)
        effects.append(.send(writer.bytes, to: address))
    }

    // MARK: News

    mutating func gossip(
        _ record: Record, as key: Dissemination.Key, pushing: Bool = true, delay: Duration = Dissemination.pushDelay,
        at now: MonotonicInstant
    ) {
        let bytes = Codec.encode(record)
        // A record of a member with larger packets does not fit ours; whoever has larger ones spreads it.
        guard bytes.count <= configuration.datagramBytesMax else {
            counters.dropped.tooLong += 1
            return
        }
        let dropped = dissemination.enqueue(bytes, as: key, pushing: pushing)
        if dropped > 0 {
            counters.dropped.userRecords += UInt64(dropped)
            effects.append(.notice(.userRecordsDropped(dropped)))
        }
        guard pushing else { return }
        let due = now + delay
        nextPushAt = nextPushAt.map { min($0, due) } ?? due
    }

    mutating func publish(_ bytes: [UInt8], isUrgent: Bool, at now: MonotonicInstant) {
        precondition(!bytes.isEmpty && bytes.count <= publishBytesMax, "a user record has 1...publishBytesMax bytes")
        guard stage == .running else { return }
        publishedSequence += 1
        let user = UserRecord(origin: selfID, bootID: bootID, sequence: publishedSequence, bytes: bytes)
        gossip(
            .user(user), as: .user(selfID, publishedSequence),
            delay: isUrgent ? Dissemination.pushDelay : Dissemination.batchDelay, at: now)
    }

    mutating func sendDirect(_ bytes: [UInt8], to id: PeerID, at now: MonotonicInstant) {
        precondition(!bytes.isEmpty && bytes.count <= publishBytesMax, "a direct record has 1...publishBytesMax bytes")
        guard stage == .running, id != selfID, let entry = table[id], entry.member.isUp else {
            counters.dropped.directs += 1
            return
        }
        send([.direct(bytes)], to: entry.member.address)
    }

    /// This node's holdings, if the peer has not been sent them as they are now; counts them as sent.
    private mutating func untoldHoldings(to id: PeerID) -> Record? {
        guard holdingsVersion > 0, let told = table[id]?.holdingsTold, told != holdingsVersion else { return nil }
        table.holdingsTold(holdingsVersion, to: id)
        return .holdings(own.holdings)
    }

    mutating func push(at now: MonotonicInstant) {
        nextPushAt = nil
        for id in pickUp(Dissemination.pushFanOut) {
            guard let address = table[id]?.member.address else { continue }
            let datagrams = dissemination.take(
                datagrams: Dissemination.pushDatagramsMax, budget: configuration.datagramBytesMax,
                members: table.up.count, pushesOnly: true, at: now)
            for records in datagrams { sendFramed(records, to: address) }
        }
        if dissemination.wantsPush, !table.up.allSatisfy({ $0 == selfID }) {
            nextPushAt = now + Dissemination.pushInterval
        }
    }
}
