internal import ClusterModel

/// From a failed probe to a verdict: accusations are private until a second accuser confirms them.
extension Membership {
    /// Members that are asked at once to confirm an accusation.
    private static let confirmers = 5

    mutating func setSuspicion(_ suspicion: Suspicion?, of id: PeerID) {
        table.setSuspicion(suspicion, of: id)
        guard let suspicion else { return }
        let due = suspicionDueAt(suspicion)
        nextJudgeAt = nextJudgeAt.map { min($0, due) } ?? due
    }

    // MARK: The accuser

    mutating func accuse(_ entry: MemberTable.Entry, evidence: Suspicion.Evidence, at now: MonotonicInstant) {
        let id = entry.member.id
        var suspicion: Suspicion
        if let known = table.suspicions[id], known.incarnation == entry.member.incarnation {
            suspicion = known
            suspicion.confirm(by: selfID, evidence: evidence)
            if !known.isOwn {
                // Whoever was to give the verdict did not, or was not heard: take it over.
                let due = known.startedAt + configuration.period * (configuration.suspicionPeriodsMin * known.damping)
                suspicion.isOwn = known.evidence != .accepted && now >= due
                suspicion.lookEndsAt = nil
            }
            guard suspicion.isOwn else { return setSuspicion(suspicion, of: id) }
        } else {
            suspicion = Suspicion(
                incarnation: entry.member.incarnation, bootID: entry.member.bootID, accuser: selfID,
                evidence: evidence, isOwn: true, membersUp: table.up.count, damping: entry.returns.factor(at: now),
                at: now)
            counters.accusations += 1
        }
        ask(&suspicion, about: entry.member, at: now)
        setSuspicion(suspicion, of: id)
        confirmed(id, at: now)
    }

    /// Asks the next members after a place that all derive alike; each round asks others.
    private mutating func ask(_ suspicion: inout Suspicion, about member: Member, at now: MonotonicInstant) {
        suspicion.askAt = now + configuration.period * ProbeTiming.askAgain
        let up = table.up
        let accusation = Accusation(member, evidence: suspicion.evidence)
        let start = Int(SplitMix64.mix(member.id.rawValue ^ UInt64(member.incarnation)) >> 33)
        var sent = 0
        for step in 0..<min(up.count, Self.confirmers + 2) where sent < Self.confirmers {
            let id = up[(start + suspicion.asked + step) % up.count]
            guard id != selfID, id != member.id, let address = table[id]?.address else { continue }
            send([.accuse(accusation)], to: address, as: .probing)
            sent += 1
        }
        suspicion.asked += Self.confirmers
    }

    /// Tells all, or gives the verdict, when what was added to an accusation suffices.
    mutating func confirmed(_ id: PeerID, at now: MonotonicInstant) {
        guard let suspicion = table.suspicions[id], suspicion.isOwn, let entry = table[id] else { return }
        if suspicion.isReadyForAll { publish(suspicion, of: entry, at: now) }
        if suspicion.evidence == .refused,
            suspicion.deadline(configuration, membersUp: table.up.count) <= now
        {
            condemn(id, at: now)
        }
    }

    private mutating func publish(_ before: Suspicion, of entry: MemberTable.Entry, at now: MonotonicInstant) {
        var suspicion = before
        let isNew = !suspicion.isPublic
        suspicion.becomePublic(at: now)
        setSuspicion(suspicion, of: entry.member.id)
        let claim = Claim(
            kind: .suspect, subject: entry.member.id, bootID: entry.member.bootID,
            incarnation: entry.member.incarnation, accuser: selfID, evidence: suspicion.evidence,
            accusers: UInt8(clamping: suspicion.accusers.count))
        gossip(.claim(claim), as: .suspect(entry.member.id), at: now)
        guard isNew else { return }
        becameSuspect(entry, evidence: suspicion.evidence, at: now)
        // Buddy system: the accused hears it first and can refute.
        send([.claim(claim)], to: entry.address, as: .probing)
    }

    mutating func becameSuspect(
        _ entry: MemberTable.Entry, evidence: Suspicion.Evidence, at now: MonotonicInstant
    ) {
        var entry = table[entry.member.id] ?? entry
        entry.member.state = .suspect
        if evidence == .accepted { entry.member.condition = .stalled }
        table.set(entry, at: now)
        counters.suspicions += 1
        report(.suspected, entry.member, at: now)
    }

    // MARK: The confirmer

    mutating func accusationReceived(_ accusation: Accusation, from origin: Origin, at now: MonotonicInstant) {
        guard accusation.subject != selfID else {
            // No news for all: a word to who asked is enough while it is private.
            send(
                [.clear(subject: selfID, bootID: bootID, incarnation: own.incarnation)], to: origin.source,
                as: .probing)
            return
        }
        guard let entry = table[accusation.subject], entry.member.bootID == accusation.bootID, stage == .running
        else { return }
        let member = entry.member
        if !member.isUp {
            // Decided here already.
            guard member.incarnation <= accusation.incarnation else { return }
            send([.confirm(accusation)], to: origin.source, as: .probing)
        } else if member.incarnation > accusation.incarnation
            || entry.heardAt.map({ now - $0 < configuration.period * ProbeTiming.heardLately }) == true
        {
            send(
                [.clear(subject: member.id, bootID: member.bootID, incarnation: member.incarnation)],
                to: origin.source, as: .probing)
        } else if let known = table.suspicions[member.id], known.accusers.contains(selfID),
            known.evidence == accusation.evidence
        {
            send([.confirm(Accusation(member, evidence: known.evidence))], to: origin.source, as: .probing)
        } else {
            startProbe(of: member.id, for: .confirmation, asker: origin.id, at: now)
        }
    }

    mutating func confirmationReceived(_ accusation: Accusation, from origin: Origin, at now: MonotonicInstant) {
        guard var suspicion = table.suspicions[accusation.subject], suspicion.isOwn,
            suspicion.bootID == accusation.bootID, suspicion.incarnation == accusation.incarnation
        else { return }
        suspicion.confirm(by: origin.id, evidence: accusation.evidence)
        setSuspicion(suspicion, of: accusation.subject)
        confirmed(accusation.subject, at: now)
    }

    // MARK: Signs of life

    /// The accused showed itself to this node, or to somebody who says so.
    mutating func showedLife(_ id: PeerID, bootID: UInt64, incarnation: UInt32, at now: MonotonicInstant) {
        guard let suspicion = table.suspicions[id], suspicion.bootID == bootID, let entry = table[id] else { return }
        if incarnation > suspicion.incarnation { return refuted(entry, incarnation: incarnation, at: now) }
        guard suspicion.isPublic else {
            counters.accusationsCleared += 1
            return setSuspicion(nil, of: id)
        }
        // It lives, but its refutation is still to come: at least another period, also for one that was stopped.
        var longer = suspicion
        longer.lookEndsAt = nil
        let due = suspicion.deadline(configuration, membersUp: table.up.count)
        let wanted = now + configuration.period
        if due < wanted { longer.extend(by: wanted - due) }
        setSuspicion(longer, of: id)
    }

    // MARK: The verdict

    /// When an accusation needs attention next.
    func suspicionDueAt(_ suspicion: Suspicion) -> MonotonicInstant {
        let deadline = suspicion.deadline(configuration, membersUp: table.up.count)
        guard suspicion.isOwn else {
            let periods = configuration.suspicionPeriodsMin * suspicion.damping
            let due = suspicion.evidence == .accepted ? deadline : suspicion.startedAt + configuration.period * periods
            // Once asked, it is asked again a while later.
            return max(due + configuration.period * ProbeTiming.bystander, suspicion.askAt ?? due)
        }
        var due = lastLook(suspicion, deadline) ?? lookAt(suspicion, deadline)
        if suspicion.accusers.count < suspicion.accusersNeeded, let askAt = suspicion.askAt { due = min(due, askAt) }
        return due
    }

    /// When the accuser has to look again.
    private func lookAt(_ suspicion: Suspicion, _ deadline: MonotonicInstant) -> MonotonicInstant {
        let last = deadline + configuration.period * -ProbeTiming.lastLook
        if suspicion.evidence == .accepted, let askAt = suspicion.askAt { return min(askAt, last) }
        return last
    }

    /// When the look is over that serves the verdict; nil if none has begun, or the verdict was put off since.
    private func lastLook(_ suspicion: Suspicion, _ deadline: MonotonicInstant) -> MonotonicInstant? {
        suspicion.lookEndsAt.flatMap { $0 >= deadline ? $0 : nil }
    }

    mutating func judge(at now: MonotonicInstant) {
        guard stage == .running else { return }
        guard let due = nextJudgeAt, due <= now else { return }
        defer { nextJudgeAt = table.accused.compactMap { table.suspicions[$0].map(suspicionDueAt) }.min() }
        for id in table.accused {
            guard var suspicion = table.suspicions[id], suspicionDueAt(suspicion) <= now, let entry = table[id]
            else { continue }
            let deadline = suspicion.deadline(configuration, membersUp: table.up.count)
            guard suspicion.isOwn else {
                // The verdict was not heard here: have a look with one's own eyes.
                suspicion.askAt = now + configuration.period * ProbeTiming.bystander
                setSuspicion(suspicion, of: id)
                startProbe(of: id, for: .challenge, at: now)
                continue
            }
            // A look that began late, because a confirmation did, is waited for all the same.
            if let end = lastLook(suspicion, deadline), end <= now {
                condemn(id, at: now)
            } else {
                suspicion.lookEndsAt = now + configuration.period * ProbeTiming.lastLook
                // The confirmers look once more too.
                ask(&suspicion, about: entry.member, at: now)
                setSuspicion(suspicion, of: id)
                startProbe(of: id, for: .final, at: now)
            }
        }
    }

    mutating func finalLookFailed(_ probe: Probe, _ entry: MemberTable.Entry, at now: MonotonicInstant) {
        guard var suspicion = table.suspicions[probe.subject] else { return }
        let before = suspicion.evidence
        suspicion.evidence = probe.evidence
        if probe.evidence == .accepted {
            suspicion.askAt = now + configuration.period * ProbeTiming.stalledLook
        } else if before == .accepted, probe.evidence == .silence {
            // The kernel too has gone silent, or its answer was lost: the wait begins now, and others are asked at once.
            suspicion.beginAgain(by: selfID, at: now)
            ask(&suspicion, about: entry.member, at: now)
        }
        setSuspicion(suspicion, of: probe.subject)
        if before != suspicion.evidence { confirmed(probe.subject, at: now) }
    }

    private mutating func condemn(_ id: PeerID, at now: MonotonicInstant) {
        guard let entry = table[id] else { return }
        var claim = Claim(.dead, entry.member, by: selfID)
        claim.evidence = table.suspicions[id]?.evidence ?? .silence
        takeDown(entry, by: claim, to: .dead, at: now)
    }
}
