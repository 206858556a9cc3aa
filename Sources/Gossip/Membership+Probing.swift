internal import ClusterModel

extension Membership {
    /// Suspects that this node has not accused itself wait this much longer, in periods: the accusers' verdict is under way.
    private static let bystanderPeriods = 0.6
    /// Members that are asked to confirm an accusation by probing at once.
    private static let confirmers = 3
    /// Tries of dead members in the whole cluster, per period.
    private static let deadTriesPerPeriod = 2

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
        if let target = ProbeSchedule.target(inRound: round, among: table.up, own: selfID) {
            startProbe(of: target, for: .scheduled, at: now)
        }
        tryTheDead()
    }

    /// The dead are never given up: a healed partition is noticed by one answered ping.
    private mutating func tryTheDead() {
        let dead = table.dead
        guard !dead.isEmpty, Int(random.next() >> 33) % table.up.count < Self.deadTriesPerPeriod else { return }
        let id = dead[Int(random.next() >> 33) % dead.count]
        guard let entry = table[id] else { return }
        sendPing(to: entry, number: nextNumber())
    }

    func nextDeadline(of probe: Probe) -> MonotonicInstant { probe.nextAt(period: configuration.period) }

    mutating func nextNumber() -> UInt32 { UInt32(truncatingIfNeeded: random.next() >> 32) }

    // MARK: Probes

    mutating func startProbe(of id: PeerID, for purpose: Probe.Purpose, at now: MonotonicInstant) {
        guard let entry = table[id], entry.member.isUp else { return }
        let probe = Probe(
            number: nextNumber(), subject: id, bootID: entry.member.bootID, purpose: purpose, startedAt: now,
            multiplier: purpose == .scheduled ? health.multiplier : 1)
        probes.append(probe)
        counters.probes += 1
        sendPing(to: entry, number: probe.number)
    }

    mutating func advanceProbes(at now: MonotonicInstant) {
        var index = 0
        while index < probes.count {
            guard nextDeadline(of: probes[index]) <= now else {
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
            case .relayed: escalate(index, to: .moreRelayed, relays: ProbeTiming.relaysSecond, entry: entry)
            case .moreRelayed: fail(probes.remove(at: index), entry: entry, at: now)
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
        sendPing(to: entry, number: probe.number)
        if stage == .moreRelayed {
            let patience =
                configuration.period * ((ProbeTiming.failed - ProbeTiming.moreRelays) * Double(probe.multiplier))
            effects.append(
                .connect(token: UInt64(probe.number), to: entry.member.address, peer: subject, within: patience))
        }
        for relay in relays {
            guard let address = table[relay]?.member.address else { continue }
            send([.indirectProbe(number: probe.number, subject: subject)], to: address)
        }
    }

    private mutating func fail(_ probe: Probe, entry: MemberTable.Entry, at now: MonotonicInstant) {
        counters.probesFailed += 1
        if probe.nacks == 0 { health.probeFailedInSilence() }
        let member = entry.member
        switch probe.purpose {
        case .scheduled, .confirmation:
            let claim = Claim(
                kind: .suspect, subject: member.id, bootID: member.bootID, incarnation: member.incarnation,
                accuser: selfID)
            apply(claim, at: now)
            // Buddy system: the accused hears it first and can refute.
            send([.claim(claim)], to: member.address)
        case .final:
            apply(
                Claim(
                    kind: .dead, subject: member.id, bootID: member.bootID, incarnation: member.incarnation,
                    accuser: selfID),
                at: now)
        }
    }

    /// An answer of `id` to a probe of this node, direct or by a relay.
    mutating func probeAnswered(
        _ number: UInt32, by id: PeerID, bootID: UInt64, incarnation: UInt32, at now: MonotonicInstant
    ) {
        guard let index = probes.firstIndex(where: { $0.number == number && $0.subject == id }) else { return }
        let probe = probes.remove(at: index)
        guard probe.bootID == bootID else { return }
        health.probeSucceeded()
        guard let entry = table[id], let suspicion = entry.suspicion else { return }
        if incarnation > entry.member.incarnation {
            refuted(entry, incarnation: incarnation, at: now)
        } else if probe.purpose == .final {
            // It lives, but its refutation is still to come.
            guard suspicion.isInFinalProbe else { return }
            table.updateSuspicion(id) {
                $0.extend(by: configuration.period)
                $0.isInFinalProbe = false
            }
        }
    }

    /// The kernel refused a datagram: no need to wait for an answer.
    mutating func sendFailed(to address: PeerAddress, at now: MonotonicInstant) {
        counters.dropped.sendsFailed += 1
        for index in probes.indices where table[probes[index].subject]?.member.metadata.isReached(at: address) == true {
            probes[index].isHurried = true
        }
        advanceProbes(at: now)
    }

    mutating func connectFinished(_ token: UInt64, _ outcome: ConnectOutcome, at now: MonotonicInstant) {
        guard let probe = probes.first(where: { UInt64($0.number) == token }) else { return }
        guard case .answered(let boot) = outcome else { return }
        counters.probesByStream += 1
        probeAnswered(
            probe.number, by: probe.subject, bootID: boot,
            incarnation: table[probe.subject]?.member.incarnation ?? 0, at: now)
    }

    mutating func nackReceived(_ number: UInt32) {
        guard let index = probes.firstIndex(where: { $0.number == number }) else { return }
        probes[index].nacks += 1
    }

    // MARK: Relays

    mutating func relay(_ number: UInt32, subject: PeerID, for asker: PeerAddress, at now: MonotonicInstant) {
        guard subject != selfID, relayed.count < RelayedProbe.countMax, let entry = table[subject] else {
            send([.nack(number: number)], to: asker)
            return
        }
        let own = nextNumber()
        relayed.append(
            RelayedProbe(
                number: own, subject: subject, askedNumber: number, asker: asker,
                deadline: now + configuration.period * ProbeTiming.relayPatience))
        sendPing(to: entry, number: own)
    }

    mutating func relayAnswered(_ number: UInt32, by id: PeerID, bootID: UInt64, incarnation: UInt32) {
        guard let index = relayed.firstIndex(where: { $0.number == number && $0.subject == id }) else { return }
        let done = relayed.remove(at: index)
        send([.vouch(number: done.askedNumber, bootID: bootID, incarnation: incarnation)], to: done.asker)
    }

    mutating func expireRelayed(at now: MonotonicInstant) {
        for probe in relayed where probe.deadline <= now { send([.nack(number: probe.askedNumber)], to: probe.asker) }
        relayed.removeAll { $0.deadline <= now }
    }

    // MARK: Suspects

    func suspicionDueAt(_ id: PeerID) -> MonotonicInstant? {
        guard let suspicion = table[id]?.suspicion, !suspicion.isInFinalProbe else { return nil }
        let deadline = suspicion.deadline(configuration)
        return suspicion.accusers.contains(selfID) ? deadline : deadline + configuration.period * Self.bystanderPeriods
    }

    mutating func judgeSuspects(at now: MonotonicInstant) {
        guard stage == .running else { return }
        for id in table.suspects {
            guard let due = suspicionDueAt(id), due <= now else { continue }
            table.updateSuspicion(id) { $0.isInFinalProbe = true }
            startProbe(of: id, for: .final, at: now)
        }
    }

    /// Whether this node is among those that probe an accused member to confirm; all nodes with equal views agree.
    mutating func confirmIfDesignated(_ claim: Claim, at now: MonotonicInstant) {
        guard claim.accuser != selfID, stage == .running,
            !probes.contains(where: { $0.subject == claim.subject && $0.purpose == .confirmation })
        else { return }
        let seed = SplitMix64.mix(claim.subject.rawValue ^ UInt64(claim.incarnation))
        func weight(_ id: PeerID) -> UInt64 { SplitMix64.mix(id.rawValue ^ seed) }
        let own = weight(selfID)
        var ahead = 0
        for id in table.up where id != claim.subject && id != claim.accuser && id != selfID && weight(id) > own {
            ahead += 1
            guard ahead < Self.confirmers else { return }
        }
        startProbe(of: claim.subject, for: .confirmation, at: now)
    }

    /// Up to `count` members that are up, without repetition, this node never among them.
    mutating func pickUp(_ count: Int, excluding excluded: [PeerID] = []) -> [PeerID] {
        let up = table.up
        var picked: [PeerID] = []
        // Rejection sampling: cheap as long as few are picked of many; for few members all are tried in order.
        if up.count <= 4 * (count + excluded.count + 1) {
            var pool = up.filter { $0 != selfID && !excluded.contains($0) }
            while picked.count < count, !pool.isEmpty {
                picked.append(pool.remove(at: Int(random.next() >> 33) % pool.count))
            }
            return picked
        }
        while picked.count < count {
            let id = up[Int(random.next() >> 33) % up.count]
            if id != selfID, !excluded.contains(id), !picked.contains(id) { picked.append(id) }
        }
        return picked
    }
}
