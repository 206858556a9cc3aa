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
        if let known = table.bootID(of: origin.id), known > origin.bootID {
            counters.dropped.oldBoot += 1
            // Alive behind a copy of itself, it hears nothing that is sent to its identity. Shorter than any ping.
            if bytes.count >= Codec.pingBytes {
                let incarnation = table.incarnation(of: origin.id) ?? 0
                send([.clear(subject: origin.id, bootID: known, incarnation: incarnation)], to: origin.source)
            }
            return
        }
        heardFrom(origin, at: now)
        let records: [Record]
        do throws(CodecError) {
            records = try Codec.decode(bytes)
        } catch {
            counters.dropped.malformed += 1
            effects.append(.notice(.malformed(from: origin.source, error)))
            return
        }
        var questions = 0
        let questionsMax = isExpected(origin) ? Codec.questionsMax : Codec.questionsFromElsewhereMax
        for record in records {
            if record.isQuestion {
                questions += 1
                guard questions <= questionsMax else {
                    counters.dropped.questions += 1
                    continue
                }
            }
            apply(record, of: bytes.count, from: origin, at: now)
        }
    }

    /// Whether a datagram came from where its sender says that it is; any other address may be a victim's.
    private func isExpected(_ origin: Origin) -> Bool {
        guard let member = table[origin.id]?.member, member.bootID == origin.bootID else { return false }
        return member.metadata.isReached(at: origin.source)
    }

    /// Any datagram of a member is a sign of life, and says where it can be reached.
    private mutating func heardFrom(_ origin: Origin, at now: MonotonicInstant) {
        guard let entry = table[origin.id], entry.member.bootID == origin.bootID else { return }
        table.update(origin.id) {
            $0.heardAt = now
            $0.streamOnly = 0
            if $0.member.metadata.isReached(at: origin.source), $0.address != origin.source {
                $0.addressIndex =
                    $0.member.metadata.alternatives.firstIndex(of: origin.source).map { UInt8($0 + 1) } ?? 0
            }
        }
        if entry.member.condition == .udpBlocked { setCondition(.well, of: origin.id) }
        if let suspicion = table.suspicions[origin.id], !suspicion.isPublic {
            counters.accusationsCleared += 1
            setSuspicion(nil, of: origin.id)
        }
    }

    /// `bytes` is the length of the datagram that the record came in.
    private mutating func apply(_ record: Record, of bytes: Int, from origin: Origin, at now: MonotonicInstant) {
        switch record {
        case .ping(let pulse): answer(pulse, of: origin, bytes: bytes, at: now)
        case .ack(let incarnation, let pulse, let seenAt):
            ackReceived(pulse, incarnation: incarnation, from: origin, at: now)
            if let seenAt { wasSeen(at: seenAt, by: origin.id, now) }
        case .echo(let number, let incarnation, let seenAt):
            answered(number, incarnation: incarnation, from: origin, at: now)
            if let seenAt { wasSeen(at: seenAt, by: origin.id, now) }
        case .indirectProbe(let number, let subject):
            guard isExpected(origin) || bytes >= Codec.vouchBytes else {
                counters.dropped.relays += 1
                return
            }
            relay(number, subject: subject, for: origin.source, at: now)
        case .vouch(let number, let bootID, let incarnation):
            guard let probe = probes.first(where: { $0.number == number && $0.relays.contains(origin.id) })
            else { return }
            counters.probesRelayed += 1
            probeAnswered(number, by: probe.subject, bootID: bootID, incarnation: incarnation, at: now)
        case .nack(let number): nackReceived(number)
        case .accuse(let accusation): accusationReceived(accusation, from: origin, at: now)
        case .confirm(let accusation): confirmationReceived(accusation, from: origin, at: now)
        case .clear(selfID, let boot, _): if boot > bootID { repairByStream(with: origin, at: now) }
        case .clear(let subject, let boot, let incarnation):
            showedLife(subject, bootID: boot, incarnation: incarnation, at: now)
        case .alive(let alive): apply(alive, at: now)
        case .refute(let id, let boot, let incarnation):
            applyRefutation(of: id, bootID: boot, incarnation: incarnation, at: now)
        case .buckets(let hashes): bucketsReceived(hashes, from: origin, at: now)
        case .bucket(let index, let count, let standings):
            bucketReceived(index, of: count, standings, from: origin, at: now)
        case .want(let ids): wanted(ids, by: origin, at: now)
        case .claim(let claim): apply(claim, at: now)
        case .load(let id, let bootID, let load, let age):
            apply(load, of: id, bootID: bootID, age: age, passingOn: true, at: now)
        case .holdings(let holdings): apply(holdings, of: origin.id, bootID: origin.bootID)
        case .user(let user): apply(user, at: now)
        case .direct(let bytes): deliverDirect(bytes, from: origin)
        }
    }

    /// Where a long answer may go: to the source only if the sender advertises it, as anybody may have written it.
    func answerAddress(_ origin: Origin) -> PeerAddress {
        guard let entry = table[origin.id], !entry.member.metadata.isReached(at: origin.source) else {
            return origin.source
        }
        return entry.address
    }

    private mutating func heardOwnIdentity(_ origin: Origin) {
        counters.dropped.ownIdentity += 1
        if origin.bootID >= bootID { reportTwin(at: origin.source) }
    }

    private mutating func answer(_ pulse: Pulse, of origin: Origin, bytes: Int, at now: MonotonicInstant) {
        heard(pulse, from: origin, at: now)
        let entry = table[origin.id]
        let isKnown = entry?.member.bootID == origin.bootID
        if let entry, isExpected(origin) {
            answer(pulse, of: entry, at: origin.source, now)
        } else {
            send([shortAnswer(pulse.number, to: origin, isKnown: isKnown, bytes: bytes)], to: origin.source)
        }
        // A stranger: its own question is the only sign that there is somebody.
        if !isKnown || pulse.stateHash != table.stateHash { repair(origin, pulse, now) }
    }

    private mutating func answer(
        _ pulse: Pulse, of entry: MemberTable.Entry, at source: PeerAddress, _ now: MonotonicInstant
    ) {
        var records: [Record] = []
        if let claim = standing(of: entry) { records.append(.claim(claim)) }
        records.append(.ack(incarnation: ownIncarnation, pulseOfSelf(pulse.number), seenAt: nil))
        if stage == .leaving { records.append(.claim(farewell)) }
        if ownIncarnation > 0, pulse.stateHash != table.stateHash { records.append(AliveRecord(own).refutation) }
        if let news = untoldHoldings(to: entry.member.id) { records.append(news) }
        send(records, to: source, riding: true, at: now)
    }

    /// The ack for an address that its sender does not advertise: alone, and no longer than the question.
    private func shortAnswer(_ number: UInt32, to origin: Origin, isKnown: Bool, bytes: Int) -> Record {
        // Who doubts its address already need not be told again, and leaves room for an ack.
        let isDoubtful = table[origin.id]?.member.load.flags.contains(.addressDoubtful) ?? false
        let seenAt = isKnown && !isDoubtful ? origin.source : nil
        let ack = Record.ack(incarnation: ownIncarnation, pulseOfSelf(number), seenAt: seenAt)
        if Codec.encode(ack).count <= bytes { return ack }
        let echo = Record.echo(number: number, incarnation: ownIncarnation, seenAt: seenAt)
        if Codec.encode(echo).count <= bytes { return echo }
        return .echo(number: number, incarnation: ownIncarnation, seenAt: nil)
    }

    private mutating func ackReceived(
        _ pulse: Pulse, incarnation: UInt32, from origin: Origin, at now: MonotonicInstant
    ) {
        heard(pulse, from: origin, at: now)
        answered(pulse.number, incarnation: incarnation, from: origin, at: now)
        if pulse.stateHash != table.stateHash { repair(origin, pulse, now) }
    }

    /// A ping of this node has its answer.
    private mutating func answered(
        _ number: UInt32, incarnation: UInt32, from origin: Origin, at now: MonotonicInstant
    ) {
        probeAnswered(number, by: origin.id, bootID: origin.bootID, incarnation: incarnation, at: now)
        relayAnswered(number, by: origin.id, bootID: origin.bootID, incarnation: incarnation)
        guard ownStreamOnly > 0 else { return }
        ownStreamOnly = 0
        if ownLoad.flags.contains(.udpBlocked) { setFlag(.udpBlocked, false, at: now) }
    }

    private mutating func heard(_ pulse: Pulse, from origin: Origin, at now: MonotonicInstant) {
        apply(pulse.load, of: origin.id, bootID: origin.bootID, age: .zero, passingOn: false, at: now)
        guard table.bootID(of: origin.id) == origin.bootID else { return }
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
}
