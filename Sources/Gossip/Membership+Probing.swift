internal import ClusterModel

extension Membership {
    /// Tries of dead members in the whole cluster, per period.
    private static let deadTriesPerPeriod = 2
    /// Members that answered by stream only and are looked at again in the next period.
    static let followUpsMax = 4
    /// Own probes in a row that only streams answered, after which this node takes its datagrams for blocked.
    private static let streamOnlyMax = 3

    // MARK: Rounds

    mutating func startRound(at now: MonotonicInstant) {
        let round = schedule.round(at: now)
        // Local health stretches the period too, so that a slow node asks less of itself.
        nextRoundAt = schedule.start(ofRound: round + Int64(health.multiplier))
        guard stage == .running else { return }
        for purpose in antiEntropy.expired(at: now) { exchangeFailed(purpose, at: now) }
        table.forgetOld(
            before: MonotonicInstant(nanoseconds: now.nanoseconds &- configuration.tombstoneLifetime.nanoseconds),
            at: now)
        // Many at once: the dead probe nobody, so the living probe more until the list is right again.
        let suspects = table.accused.count
        let turns = suspects >= 2 && suspects * 16 >= table.up.count ? 3 : 1
        for turn in 0..<turns {
            guard
                let target = ProbeSchedule.target(inRound: round &+ Int64(turn) &* 7, among: table.up, own: selfID)
            else { break }
            if table.suspicions[target]?.isPublic == true, turn > 0 { continue }
            startProbe(of: target, for: .scheduled, at: now)
        }
        for id in followUps.prefix(Self.followUpsMax) { startProbe(of: id, for: .scheduled, at: now) }
        followUps.removeAll()
        tryTheDead()
        if ownLoad.flags.contains(.udpBlocked), round % 2 == 0, let id = pickUp(1).first {
            // Streams are what it has: they bring the news that datagrams would.
            exchange(with: id, at: now)
        }
    }

    /// The dead are never given up: a healed partition is noticed by one answered ping.
    private mutating func tryTheDead() {
        let dead = table.dead
        guard !dead.isEmpty, Int(random.next() >> 33) % table.up.count < Self.deadTriesPerPeriod else { return }
        let id = dead[Int(random.next() >> 33) % dead.count]
        guard let entry = table[id] else { return }
        sendPing(to: entry, number: nextNumber())
    }

    mutating func nextNumber() -> UInt32 { UInt32(truncatingIfNeeded: random.next() >> 32) }

    // MARK: Probes

    mutating func startProbe(
        of id: PeerID, for purpose: Probe.Purpose, asker: PeerID? = nil, at now: MonotonicInstant
    ) {
        guard let entry = table[id], entry.member.isUp else { return }
        if purpose != .scheduled, let index = probes.firstIndex(where: { $0.subject == id && $0.purpose != .scheduled })
        {
            if let asker, probes[index].askers.count < Probe.askersMax { probes[index].askers.append(asker) }
            return
        }
        var probe = Probe(
            number: nextNumber(), subject: id, bootID: entry.member.bootID, purpose: purpose, startedAt: now,
            multiplier: purpose == .scheduled ? health.multiplier : 1)
        if let asker { probe.askers.append(asker) }
        counters.probes += 1
        probes.append(probe)
        sendPing(to: entry, number: probe.number)
        if purpose == .confirmation || purpose == .final { connect(probes.count - 1, entry) }
    }

    private mutating func connect(_ index: Int, _ entry: MemberTable.Entry) {
        let share = ProbeTiming.failed - (probes[index].stage == .moreRelayed ? ProbeTiming.moreRelays : 0)
        effects.append(
            .connect(
                token: UInt64(probes[index].number), to: entry.address, peer: entry.member.id,
                within: configuration.period * (share * Double(probes[index].multiplier))))
    }

    mutating func advanceProbes(at now: MonotonicInstant) {
        var index = 0
        while index < probes.count {
            guard probes[index].nextAt(period: configuration.period) <= now else {
                index += 1
                continue
            }
            guard let entry = table[probes[index].subject], entry.member.isUp,
                entry.member.bootID == probes[index].bootID
            else {
                probes.remove(at: index)
                continue
            }
            switch probes[index].stage {
            case .direct: escalate(index, to: .relayed, relays: ProbeTiming.relaysFirst, entry: entry)
            case .relayed where probes[index].evidence == .refused: fail(probes.remove(at: index), entry, at: now)
            case .relayed:
                escalate(index, to: .moreRelayed, relays: ProbeTiming.relaysSecond, entry: entry)
                // A second time where the first segment may have been lost: a kernel repeats it only after a second.
                if probes[index].evidence == .silence { connect(index, entry) }
            case .moreRelayed: fail(probes.remove(at: index), entry, at: now)
            }
        }
    }

    private mutating func escalate(_ index: Int, to stage: Probe.Stage, relays count: Int, entry: MemberTable.Entry) {
        var probe = probes[index]
        probe.stage = stage
        probe.isHurried = false
        let subject = probe.subject
        let relays = pickUp(count, excluding: probe.relays + [subject])
        probe.relays += relays
        probes[index] = probe
        // Another of its addresses may work when the first does not.
        sendPing(to: entry, number: probe.number, attempt: stage == .relayed ? 1 : 2)
        for relay in relays {
            guard let address = table[relay]?.address else { continue }
            send(
                [.indirectProbe(number: probe.number, subject: subject)] + roomForAnswers, to: address, as: .probing)
        }
    }

    private mutating func fail(_ probe: Probe, _ entry: MemberTable.Entry, at now: MonotonicInstant) {
        counters.probesFailed += 1
        // Its kernel answered: the fault is not on this side.
        if probe.nacks == 0, probe.evidence == .silence, !probe.relays.isEmpty { health.probeFailedInSilence() }
        if probe.purpose == .final, table.suspicions[probe.subject]?.isOwn == true {
            return finalLookFailed(probe, entry, at: now)
        }
        let accusation = Accusation(entry.member, evidence: probe.evidence)
        for asker in probe.askers {
            guard let address = table[asker]?.address else { continue }
            send([.confirm(accusation)], to: address, as: .probing)
        }
        if let verdict = probe.verdict, verdict.incarnation >= entry.member.incarnation,
            max(probe.evidence, table.suspicions[probe.subject]?.evidence ?? .silence) != .accepted
        {
            return takeDown(entry, by: verdict, to: .dead, at: now)
        }
        // A confirmer leaves the accusing to who asked it.
        if probe.purpose != .confirmation { accuse(entry, evidence: probe.evidence, at: now) }
    }

    /// An answer of `id` to a probe of this node, direct or by a relay.
    mutating func probeAnswered(
        _ number: UInt32, by id: PeerID, bootID: UInt64, incarnation: UInt32, at now: MonotonicInstant
    ) {
        guard let index = probes.firstIndex(where: { $0.number == number && $0.subject == id }) else { return }
        let probe = probes.remove(at: index)
        guard probe.bootID == bootID else { return }
        health.probeSucceeded()
        for asker in probe.askers {
            guard let address = table[asker]?.address else { continue }
            send([.clear(subject: id, bootID: bootID, incarnation: incarnation)], to: address, as: .probing)
        }
        showedLife(id, bootID: bootID, incarnation: incarnation, at: now)
    }

    mutating func connectFinished(_ token: UInt64, _ outcome: ConnectOutcome, at now: MonotonicInstant) {
        guard let index = probes.firstIndex(where: { UInt64($0.number) == token }) else { return }
        let probe = probes[index]
        switch outcome {
        case .silent, .unreachable: return
        case .accepted: probes[index].evidence = .accepted
        case .refused:
            probes[index].evidence = .refused
            guard probe.stage == .moreRelayed, let entry = table[probe.subject] else { return }
            fail(probes.remove(at: index), entry, at: now)
        case .answered(let boot):
            guard boot == probe.bootID else {
                // A new boot: its table entry here is what fails, not the process.
                probes.remove(at: index)
                return exchange(with: probe.subject, at: now)
            }
            guard let entry = table[probe.subject] else { return }
            counters.probesByStream += 1
            answeredByStream(probe.subject, at: now)
            probeAnswered(
                probe.number, by: probe.subject, bootID: boot, incarnation: entry.member.incarnation, at: now)
        }
    }

    private mutating func answeredByStream(_ id: PeerID, at now: MonotonicInstant) {
        var count: UInt8 = 0
        table.update(id) {
            $0.streamOnly = min(Self.streamOnlyMaxCount, $0.streamOnly + 1)
            count = $0.streamOnly
        }
        if count >= 2 { setCondition(.udpBlocked, of: id) } else { followUps.append(id) }
        ownStreamOnly += 1
        guard ownStreamOnly >= Self.streamOnlyMax, !own.load.flags.contains(.udpBlocked) else { return }
        setFlag(.udpBlocked, true, at: now)
        effects.append(.notice(.datagramsBlocked))
    }

    private static let streamOnlyMaxCount: UInt8 = 100

    /// The kernel refused a datagram: no need to wait for an answer.
    mutating func sendFailed(to address: PeerAddress, at now: MonotonicInstant) {
        counters.dropped.sendsFailed += 1
        for index in probes.indices where table[probes[index].subject]?.member.metadata.isReached(at: address) == true {
            if probes[index].stage != .moreRelayed { probes[index].isHurried = true }
        }
        advanceProbes(at: now)
    }

    mutating func nackReceived(_ number: UInt32) {
        guard let index = probes.firstIndex(where: { $0.number == number }) else { return }
        probes[index].nacks += 1
    }

    mutating func setCondition(_ condition: Member.Condition, of id: PeerID) {
        guard var member = table[id]?.member, member.condition != condition else { return }
        member.condition = condition
        table.update(id) { $0.member.condition = condition }
        effects.append(.report(MemberChange(kind: .condition, member: member)))
    }
}
