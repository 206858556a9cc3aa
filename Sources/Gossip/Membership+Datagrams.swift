internal import ClusterModel

extension Membership {
    // MARK: In

    mutating func receive(_ bytes: [UInt8], from source: PeerAddress, at now: MonotonicInstant) {
        guard stage != .waiting else { return }
        let datagram: Codec.Datagram
        do throws(CodecError) {
            datagram = try Codec.decode(bytes)
        } catch {
            effects.append(.notice(.malformed(from: source, error)))
            return
        }
        guard datagram.sender != selfID else {
            if datagram.bootID > bootID, !reportedConflict {
                reportedConflict = true
                effects.append(.notice(.identityConflict(source)))
            }
            return
        }
        var questions = 0
        for record in datagram.records {
            switch record {
            case .ping(let subject, let pulse):
                guard subject == selfID || subject.rawValue == 0 else { continue }
                questions += 1
                guard questions <= Codec.questionsMax else { continue }
                answer(pulse, from: datagram, at: source, now)
            case .indirectProbe(let number, let subject):
                questions += 1
                guard questions <= Codec.questionsMax else { continue }
                relay(number, subject: subject, for: source, at: now)
            case .ack(let incarnation, let pulse):
                ackReceived(pulse, incarnation: incarnation, from: datagram, at: source, now)
            case .vouch(let number, let bootID, let incarnation):
                guard let probe = probes.first(where: { $0.number == number && $0.relays.contains(datagram.sender) })
                else { continue }
                probeAnswered(number, by: probe.subject, bootID: bootID, incarnation: incarnation, at: now)
            case .nack(let number): nackReceived(number)
            case .alive(let alive): apply(alive, at: now)
            case .claim(let claim): apply(claim, at: now)
            case .load(let id, let bootID, let load): apply(load, of: id, bootID: bootID, isDirect: false, at: now)
            case .user(let user): apply(user, at: now)
            }
        }
    }

    private mutating func answer(
        _ pulse: Pulse, from datagram: Codec.Datagram, at source: PeerAddress, _ now: MonotonicInstant
    ) {
        apply(pulse.load, of: datagram.sender, bootID: datagram.bootID, isDirect: true, at: now)
        let entry = table[datagram.sender]
        var records: [Record] = [.ack(incarnation: own.incarnation, pulseOfSelf(pulse.number))]
        if stage == .leaving { records.append(.claim(farewell)) }
        if own.incarnation > 0, pulse.stateHash != table.stateHash { records.append(.alive(AliveRecord(own))) }
        if let entry, let claim = standing(of: entry), entry.member.bootID == datagram.bootID {
            records.append(.claim(claim))
        }
        send(records, to: source, riding: true, at: now)
        // A stranger: its own question is the only sign that there is somebody.
        if entry == nil || entry?.member.bootID != datagram.bootID {
            repair(with: datagram.sender, at: source, now)
        }
    }

    private mutating func ackReceived(
        _ pulse: Pulse, incarnation: UInt32, from datagram: Codec.Datagram, at source: PeerAddress,
        _ now: MonotonicInstant
    ) {
        apply(pulse.load, of: datagram.sender, bootID: datagram.bootID, isDirect: true, at: now)
        probeAnswered(pulse.number, by: datagram.sender, bootID: datagram.bootID, incarnation: incarnation, at: now)
        relayAnswered(pulse.number, by: datagram.sender, bootID: datagram.bootID, incarnation: incarnation)
        if pulse.stateHash != table.stateHash { repair(with: datagram.sender, at: source, now) }
    }

    // MARK: Out

    func pulseOfSelf(_ number: UInt32) -> Pulse {
        Pulse(number: number, stateHash: table.stateHash, load: own.load)
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
        var records: [Record] = [.ping(subject: entry.member.id, pulseOfSelf(number))]
        if let claim = standing(of: entry) { records.append(.claim(claim)) }
        send(records, to: entry.member.address, riding: true)
    }

    /// Sends the records that must go, and with `riding` as much news as fits behind them.
    mutating func send(
        _ records: [Record], to address: PeerAddress, riding: Bool = false, at now: MonotonicInstant? = nil
    ) {
        var framed = records.map(Codec.encode)
        if riding {
            let used = framed.reduce(Codec.headerBytes) { $0 + $1.count }
            let news = dissemination.take(
                datagrams: 1, budget: configuration.datagramBytesMax - used, members: table.up.count, pushesOnly: false,
                at: now)
            framed += news.first ?? []
        }
        sendFramed(framed, to: address)
    }

    private mutating func sendFramed(_ framed: [[UInt8]], to address: PeerAddress) {
        var writer = ByteWriter(capacity: configuration.datagramBytesMax)
        Codec.encodeHeader(sender: selfID, bootID: bootID, into: &writer)
        for record in framed { writer.append(contentsOf: record) }
        effects.append(.send(writer.bytes, to: address))
    }

    // MARK: News

    mutating func gossip(_ record: Record, as key: Dissemination.Key, pushing: Bool = true, at now: MonotonicInstant) {
        let bytes = Codec.encode(record)
        // A record of a member with larger packets does not fit ours; whoever has larger ones spreads it.
        guard bytes.count + Codec.headerBytes <= configuration.datagramBytesMax else { return }
        let dropped = dissemination.enqueue(bytes, as: key, pushing: pushing)
        if dropped > 0 { effects.append(.notice(.userRecordsDropped(dropped))) }
        if pushing, nextPushAt == nil { nextPushAt = now + Dissemination.pushDelay }
    }

    mutating func publish(_ bytes: [UInt8], at now: MonotonicInstant) {
        precondition(!bytes.isEmpty && bytes.count <= publishBytesMax, "a user record has 1...publishBytesMax bytes")
        guard stage == .running else { return }
        publishedSequence += 1
        let user = UserRecord(origin: selfID, bootID: bootID, sequence: publishedSequence, bytes: bytes)
        gossip(.user(user), as: .user(selfID, publishedSequence), at: now)
    }

    mutating func push(at now: MonotonicInstant) {
        nextPushAt = nil
        for id in pickUp(Dissemination.pushFanOut) {
            guard let address = table[id]?.member.address else { continue }
            let datagrams = dissemination.take(
                datagrams: Dissemination.pushDatagramsMax, budget: configuration.datagramBytesMax - Codec.headerBytes,
                members: table.up.count, pushesOnly: true, at: now)
            for records in datagrams { sendFramed(records, to: address) }
        }
        if dissemination.wantsPush, !table.up.allSatisfy({ $0 == selfID }) {
            nextPushAt = now + Dissemination.pushInterval
        }
    }
}
