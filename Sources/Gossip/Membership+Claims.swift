internal import ClusterModel

/// What records do to the table. Order within one boot: a higher incarnation of alive beats everything but left;
/// suspect beats alive and dead beats both at the same incarnation; left is final. A higher boot beats any of them.
extension Membership {
    // MARK: Alive

    mutating func apply(_ alive: AliveRecord, passingOn passesOn: Bool = true, at now: MonotonicInstant) {
        guard alive.id != selfID else { return heardOfSelf(alive, at: now) }
        guard var entry = table[alive.id] else {
            guard !table.isFull else { return }
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
        entry.suspicion = nil
        entry.downSince = nil
        table.set(entry, at: now)
        // A probe that began before this sign of life must not accuse the new incarnation.
        probes.removeAll { $0.subject == alive.id }
        if passesOn { gossip(.alive(alive), as: .standing(alive.id), at: now) }
        if alive.bootID > before.bootID {
            report(.restarted, entry.member, at: now)
        } else {
            if before.metadata != alive.metadata { report(.updated, entry.member, at: now) }
            if before.state == .dead { report(.returned, entry.member, at: now) }
            if before.state == .suspect { report(.refuted, entry.member, at: now) }
        }
    }

    /// The member itself showed a higher incarnation in an ack; its alive record will say the same.
    mutating func refuted(_ before: MemberTable.Entry, incarnation: UInt32, at now: MonotonicInstant) {
        var alive = AliveRecord(before.member)
        alive.incarnation = incarnation
        apply(alive, at: now)
    }

    private mutating func heardOfSelf(_ alive: AliveRecord, at now: MonotonicInstant) {
        if alive.bootID > bootID {
            guard !reportedConflict else { return }
            reportedConflict = true
            effects.append(.notice(.identityConflict(alive.metadata.address)))
        } else if alive.bootID < bootID {
            // Somebody still believes in the boot before this one.
            announceSelf(at: now)
        } else if alive.incarnation > own.incarnation {
            raiseIncarnation(above: alive.incarnation, at: now)
        }
    }

    // MARK: Claims

    /// `isChallenge`: learnt from a whole state, where the other side of a healed partition calls ours dead.
    ///
    /// Such a word
    /// is an accusation to be refuted, no verdict; otherwise both halves would first kill each other's members.
    mutating func apply(_ claim: Claim, isChallenge: Bool = false, at now: MonotonicInstant) {
        guard claim.subject != selfID else { return accused(claim, at: now) }
        guard let entry = table[claim.subject], entry.member.bootID == claim.bootID else { return }
        switch claim.kind {
        case .left:
            guard entry.member.state != .left else { return }
            takeDown(entry, by: claim, to: .left, at: now)
        case .dead where !isChallenge:
            guard entry.member.isUp, claim.incarnation >= entry.member.incarnation else { return }
            takeDown(entry, by: claim, to: .dead, at: now)
        case .dead, .suspect:
            guard entry.member.isUp, claim.incarnation >= entry.member.incarnation else { return }
            suspect(entry, by: claim, isChallenge: isChallenge, at: now)
        }
    }

    private mutating func suspect(
        _ before: MemberTable.Entry, by claim: Claim, isChallenge: Bool, at now: MonotonicInstant
    ) {
        var entry = before
        var claim = claim
        claim.kind = .suspect
        if var suspicion = entry.suspicion, suspicion.incarnation == claim.incarnation {
            guard suspicion.confirm(by: claim.accuser) else { return }
            entry.suspicion = suspicion
            table.set(entry, at: now)
            gossip(.claim(claim), as: .suspect(claim.subject, accuser: claim.accuser), at: now)
            return
        }
        entry.member.state = .suspect
        entry.member.incarnation = claim.incarnation
        entry.suspicion = Suspicion(
            incarnation: claim.incarnation, accuser: claim.accuser, membersUp: table.up.count, at: now)
        table.set(entry, at: now)
        gossip(.claim(claim), as: .suspect(claim.subject, accuser: claim.accuser), at: now)
        report(.suspected, entry.member, at: now)
        if isChallenge {
            send([.claim(claim)], to: entry.member.address)
        } else {
            confirmIfDesignated(claim, at: now)
        }
    }

    private mutating func takeDown(
        _ before: MemberTable.Entry, by claim: Claim, to state: Member.State, at now: MonotonicInstant
    ) {
        var entry = before
        entry.member.state = state
        entry.member.incarnation = max(entry.member.incarnation, claim.incarnation)
        entry.suspicion = nil
        entry.downSince = now
        table.set(entry, at: now)
        probes.removeAll { $0.subject == claim.subject }
        gossip(.claim(claim), as: .standing(claim.subject), at: now)
        report(state == .left ? .left : .died, entry.member, at: now)
    }

    /// Somebody says that this node is suspect, dead or gone.
    private mutating func accused(_ claim: Claim, at now: MonotonicInstant) {
        guard claim.bootID <= bootID else { return }
        guard claim.bootID == bootID else { return announceSelf(at: now) }
        guard stage == .running, claim.incarnation >= own.incarnation else { return }
        health.wasAccused()
        raiseIncarnation(above: claim.incarnation, at: now)
    }

    private mutating func raiseIncarnation(above incarnation: UInt32, at now: MonotonicInstant) {
        // At the end of the numbers only a new boot helps; 4 billion refutations are no honest history.
        guard stage == .running, incarnation < .max, var entry = table[selfID] else { return }
        entry.member.incarnation = incarnation + 1
        table.set(entry, at: now)
        announceSelf(at: now)
    }

    mutating func announceSelf(at now: MonotonicInstant) {
        guard stage == .running else { return }
        gossip(.alive(AliveRecord(own)), as: .standing(selfID), at: now)
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
        if passesOn { gossip(.load(id, bootID: bootID, load, age: age), as: .load(id), pushing: isPushed, at: now) }
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
        gossip(.user(user), as: .user(user.origin, user.sequence), at: now)
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
