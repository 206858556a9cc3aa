internal import ClusterModel

/// What records do to the table. Order within one boot: a higher incarnation of alive beats everything but left;
/// suspect beats alive and dead beats both at the same incarnation; left is final. A higher boot beats any of them.
extension Membership {
    // MARK: Alive

    mutating func apply(_ alive: AliveRecord, passingOn passesOn: Bool = true, at now: MonotonicInstant) {
        guard alive.id != selfID else { return heardOfSelf(alive, at: now) }
        guard var entry = table[alive.id] else {
            guard table.makeRoom(at: now) else {
                counters.dropped.members += 1
                effects.append(.notice(.tableFull(members: table.count)))
                return
            }
            var load = LoadRecord()
            load.slots = alive.metadata.slots
            let member = Member(
                id: alive.id, bootID: alive.bootID, incarnation: alive.incarnation, state: .alive,
                metadata: alive.metadata, load: load)
            table.set(MemberTable.Entry(member: member), at: now)
            if passesOn { gossip(.alive(alive), as: .standing(alive.id), at: now) }
            return report(.joined, member, at: now)
        }
        let before = entry.member
        guard alive.bootID >= before.bootID else { return }
        if alive.bootID > before.bootID {
            entry = MemberTable.Entry(member: before)
            entry.member.load = LoadRecord()
            entry.member.load.slots = alive.metadata.slots
            entry.member.loadAt = nil
        } else {
            guard before.state != .left, alive.incarnation > before.incarnation else { return }
        }
        entry.member.bootID = alive.bootID
        entry.member.incarnation = alive.incarnation
        entry.member.metadata = alive.metadata
        entry.member.state = .alive
        entry.member.condition = entry.member.condition == .stalled ? .well : entry.member.condition
        entry.downSince = nil
        entry.addressIndex = before.metadata == alive.metadata ? entry.addressIndex : 0
        if before.state == .dead, alive.bootID == before.bootID { entry.returns.note(at: now) }
        setSuspicion(nil, of: alive.id)
        table.set(entry, at: now)
        // A probe that began before this sign of life must not accuse the new incarnation.
        probes.removeAll { $0.subject == alive.id }
        if passesOn {
            let isKnown = alive.bootID == before.bootID && alive.metadata == before.metadata
            gossip(isKnown ? alive.refutation : .alive(alive), as: .standing(alive.id), at: now)
        }
        if alive.bootID > before.bootID {
            report(.restarted, entry.member, at: now)
        } else {
            if before.metadata != alive.metadata { report(.updated, entry.member, at: now) }
            if before.state == .dead {
                counters.returns += 1
                report(.returned, entry.member, at: now)
            }
            if before.state == .suspect {
                counters.refutations += 1
                report(.refuted, entry.member, at: now)
            }
        }
    }

    /// The member itself showed a higher incarnation in an ack; its alive record will say the same.
    mutating func refuted(_ before: MemberTable.Entry, incarnation: UInt32, at now: MonotonicInstant) {
        // New metadata takes a step in the upper half: only a whole record can bring it.
        guard incarnation >> 16 == before.member.incarnation >> 16 else { return }
        var alive = AliveRecord(before.member)
        alive.incarnation = incarnation
        apply(alive, at: now)
    }

    /// A short word of a higher incarnation.
    mutating func applyRefutation(of id: PeerID, bootID: UInt64, incarnation: UInt32, at now: MonotonicInstant) {
        guard id != selfID else {
            if bootID == self.bootID, incarnation > own.incarnation { raiseIncarnation(above: incarnation, at: now) }
            return
        }
        guard let entry = table[id], entry.member.bootID == bootID, incarnation > entry.member.incarnation else {
            return
        }
        refuted(entry, incarnation: incarnation, at: now)
    }

    private mutating func heardOfSelf(_ alive: AliveRecord, at now: MonotonicInstant) {
        if alive.bootID > bootID || isOfTwin(alive) {
            heardOfTwin(bootID: alive.bootID, at: alive.metadata.address, now)
        } else if alive.bootID < bootID {
            if !own.metadata.isReached(at: alive.metadata.address) { twin.foundBefore(alive.metadata.address) }
            // Somebody still believes in the boot before this one.
            announceSelf(at: now)
        } else if alive.incarnation > own.incarnation {
            raiseIncarnation(above: alive.incarnation, at: now)
        }
    }

    // MARK: Claims

    mutating func apply(_ claim: Claim, at now: MonotonicInstant) {
        guard claim.subject != selfID else { return accused(claim, at: now) }
        guard let entry = table[claim.subject], entry.member.bootID == claim.bootID else { return }
        switch claim.kind {
        case .left:
            guard entry.member.state != .left else { return }
            takeDown(entry, by: claim, to: .left, at: now)
        case .dead:
            guard entry.member.isUp, claim.incarnation >= entry.member.incarnation else { return }
            guard isDue(claim, entry, at: now) else { return challenge(claim, isVerdict: true, at: now) }
            takeDown(entry, by: claim, to: .dead, at: now)
        case .suspect:
            guard entry.member.isUp, claim.incarnation >= entry.member.incarnation else { return }
            suspect(entry, by: claim, at: now)
        }
    }

    /// Whether a verdict is one that this node could expect, not old news from beyond a partition that has just healed.
    ///
    /// A verdict follows a suspicion that all have known for a while, on the same evidence, and the accused was not heard
    /// since. The word of the accused's own kernel that the process is gone needs none of that.
    private func isDue(_ verdict: Claim, _ entry: MemberTable.Entry, at now: MonotonicInstant) -> Bool {
        guard verdict.evidence != .refused else { return true }
        guard let suspicion = table.suspicions[verdict.subject], let publicSince = suspicion.publicSince,
            (suspicion.evidence == .accepted) == (verdict.evidence == .accepted)
        else { return false }
        let quiet = configuration.period * configuration.suspicionPeriodsMin
        return now - publicSince >= configuration.period * ProbeTiming.verdictAfter
            && entry.heardAt.map { now - $0 >= quiet } ?? true
    }

    /// Learnt by comparing tables: the other side of a healed partition calls ours dead.
    ///
    /// Such a word is an accusation to be refuted, no verdict; otherwise both halves would first kill each other's
    /// members. The accused is asked at once. With `isVerdict` somebody has just decided, and a look of this node that
    /// fails suffices.
    mutating func challenge(_ claim: Claim, isVerdict: Bool = false, at now: MonotonicInstant) {
        guard claim.subject != selfID else { return accused(claim, at: now) }
        guard let entry = table[claim.subject], entry.member.bootID == claim.bootID, entry.member.isUp,
            claim.incarnation >= entry.member.incarnation
        else { return }
        send([.claim(claim)], to: entry.address, as: .probing)
        startProbe(of: claim.subject, for: .challenge, at: now)
        guard isVerdict,
            let index = probes.firstIndex(where: { $0.subject == claim.subject && $0.purpose != .scheduled })
        else { return }
        probes[index].verdict = claim
    }

    /// All hear of a suspect; the accuser gives the verdict, the others wait for it.
    private mutating func suspect(_ entry: MemberTable.Entry, by claim: Claim, at now: MonotonicInstant) {
        if var known = table.suspicions[claim.subject], known.incarnation >= claim.incarnation {
            let isNews = !known.isPublic || !known.accusers.contains(claim.accuser) || known.evidence != claim.evidence
            guard isNews else { return }
            let wasPublic = known.isPublic
            known.becomePublic(at: now)
            known.confirm(by: claim.accuser, evidence: claim.evidence)
            if known.accusers.first == claim.accuser { known.evidence = claim.evidence }
            setSuspicion(known, of: claim.subject)
            gossip(.claim(claim), as: .suspect(claim.subject), at: now)
            if !wasPublic { becameSuspect(entry, evidence: claim.evidence, at: now) }
            return confirmed(claim.subject, at: now)
        }
        var raised = entry
        raised.member.incarnation = claim.incarnation
        table.set(raised, at: now)
        var suspicion = Suspicion(
            incarnation: claim.incarnation, bootID: claim.bootID, accuser: claim.accuser, evidence: claim.evidence,
            isOwn: false, membersUp: table.up.count, damping: entry.returns.factor(at: now), at: now)
        suspicion.becomePublic(at: now)
        setSuspicion(suspicion, of: claim.subject)
        gossip(.claim(claim), as: .suspect(claim.subject), at: now)
        becameSuspect(raised, evidence: claim.evidence, at: now)
    }

    mutating func takeDown(
        _ before: MemberTable.Entry, by claim: Claim, to state: Member.State, at now: MonotonicInstant
    ) {
        var entry = before
        entry.member.state = state
        entry.member.condition = .well
        entry.member.incarnation = max(entry.member.incarnation, claim.incarnation)
        entry.downSince = now
        setSuspicion(nil, of: claim.subject)
        table.set(entry, at: now)
        probes.removeAll { $0.subject == claim.subject }
        gossip(.claim(claim), as: .standing(claim.subject), at: now)
        if state == .dead { counters.deaths += 1 }
        report(state == .left ? .left : .died, entry.member, at: now)
    }

    /// Somebody says that this node is suspect, dead or gone.
    private mutating func accused(_ claim: Claim, at now: MonotonicInstant) {
        guard claim.bootID <= bootID else { return }
        guard claim.bootID == bootID else { return announceSelf(at: now) }
        guard stage == .running, claim.incarnation >= own.incarnation else { return }
        health.wasAccused()
        counters.ownRefutations += 1
        raiseIncarnation(above: claim.incarnation, at: now)
        // The accuser gives the verdict: it hears first.
        guard claim.accuser != selfID, let address = table[claim.accuser]?.address else { return }
        send([refutation], to: address, as: .membership)
    }

    private var refutation: Record { AliveRecord(own).refutation }

    mutating func raiseIncarnation(above incarnation: UInt32, at now: MonotonicInstant) {
        // At the end of the numbers only a new boot helps; 4 billion refutations are no honest history.
        guard stage == .running, incarnation < .max, var entry = table[selfID] else { return }
        entry.member.incarnation = incarnation + 1
        table.set(entry, at: now)
        announceSelf(isRefuting: incarnation >> 16 == (incarnation + 1) >> 16, at: now)
    }

    mutating func announceSelf(isRefuting: Bool = false, at now: MonotonicInstant) {
        guard stage == .running else { return }
        // The others know the metadata unless it changed after they met this boot.
        let alive = AliveRecord(own)
        gossip(hasNewMetadata || isRefuting == false ? .alive(alive) : alive.refutation, as: .standing(selfID), at: now)
    }

    // MARK: Load and user records

    mutating func apply(
        _ load: LoadRecord, of id: PeerID, bootID: UInt64, age: Duration, passingOn passesOn: Bool,
        at now: MonotonicInstant
    ) {
        guard id != selfID, let entry = table[id], entry.member.bootID == bootID else { return }
        let before = entry.member.load
        let isFirst = entry.member.loadAt == nil
        let written = MonotonicInstant(nanoseconds: now.nanoseconds &- age.nanoseconds)
        guard isFirst || load.isNewer(than: before) else {
            // Word that nothing has changed makes the record young again.
            if load.sequence == before.sequence, let known = entry.member.loadAt, written > known {
                table.updateLoad(before, of: id, at: written)
            }
            return
        }
        table.updateLoad(load, of: id, at: written)
        let isPushed = load.loadClass != before.loadClass
        if passesOn, load.isNews(after: before) {
            gossip(.load(id, bootID: bootID, load, age: age), as: .load(id), pushing: isPushed, at: now)
        }
        guard load != before, let member = table[id]?.member else { return }
        effects.append(.report(MemberChange(kind: .load, member: member)))
    }

    mutating func apply(_ holdings: Holdings, of id: PeerID, bootID: UInt64) {
        guard id != selfID, let entry = table[id], entry.member.bootID == bootID, entry.member.holdings != holdings
        else { return }
        table.updateHoldings(holdings, of: id)
        guard let member = table[id]?.member else { return }
        effects.append(.report(MemberChange(kind: .holdings, member: member)))
    }

    mutating func apply(_ user: UserRecord, at now: MonotonicInstant) {
        guard user.origin != selfID, let entry = table[user.origin], entry.member.isUp,
            entry.member.bootID == user.bootID, table.admitUserRecord(user.sequence, from: user.origin)
        else { return }
        gossip(user, at: now)
        effects.append(.deliver(user.bytes, from: user.origin))
    }

    mutating func report(_ kind: MemberChange.Kind, _ member: Member, at now: MonotonicInstant) {
        effects.append(.report(MemberChange(kind: kind, member: member)))
        guard kind == .joined || kind == .restarted || kind == .updated || kind == .left, persistAt == nil else {
            return
        }
        persistAt = max(now, persistAllowedAt)
    }
}
