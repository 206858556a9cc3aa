internal import ClusterModel

extension Membership {
    /// Challenges that one state message may cause; the rest follows with the next exchange.
    private static let challengesMax = 1_024

    mutating func join(_ seeds: [PeerAddress], at now: MonotonicInstant) {
        guard stage == .waiting || stage == .running else { return }
        joining.replaceSeeds(seeds.filter { !own.metadata.isReached(at: $0) }, at: now)
        if stage == .waiting {
            stage = .running
            nextRoundAt = schedule.start(ofRound: schedule.round(at: now) + 1)
        }
        contactSeeds(at: now, isResolved: true)
    }

    /// Tries what is due; names are looked up before each try, as they may mean other addresses by now.
    mutating func contactSeeds(at now: MonotonicInstant, isResolved: Bool = false) {
        var due: [PeerAddress] = []
        for seed in joining.dueSeeds(at: now) {
            if isMember(seed) { joining.postpone(seed.address, at: now) } else { due.append(seed.address) }
        }
        if isResolved || joining.gaveUpLookUp(at: now) {
            for address in due {
                joining.asked(address)
                exchange(for: .seed(address), to: address, expecting: nil, at: now)
            }
        } else if joining.wantsLookUp(at: now, hasDue: !due.isEmpty, random: &random) {
            counters.seedLookUps += 1
            effects.append(.lookUpSeeds)
        }
        for address in joining.dueRemembered(at: now, isAlone: table.up.count <= 1, random: &random) {
            exchange(for: .remembered(address), to: address, expecting: nil, at: now)
        }
    }

    mutating func seedsResolved(_ addresses: [PeerAddress], at now: MonotonicInstant) {
        guard stage == .running else { return }
        // No answer is no news: the former addresses may still be right.
        if !addresses.isEmpty { joining.replaceSeeds(addresses.filter { !own.metadata.isReached(at: $0) }, at: now) }
        joining.lookedUp(at: now)
        contactSeeds(at: now, isResolved: true)
    }

    /// Whether a seed needs no joining: it is this node, or a member that is up.
    private func isMember(_ seed: JoinSchedule.Contact) -> Bool {
        if let peer = seed.peer { return peer == selfID || table[peer]?.member.isUp == true }
        return table.up.contains { $0 != selfID && table[$0]?.member.metadata.isReached(at: seed.address) == true }
    }

    // MARK: Exchanges

    mutating func exchange(
        for purpose: AntiEntropy.Purpose, to address: PeerAddress, expecting peer: PeerID?, at now: MonotonicInstant
    ) {
        let id = antiEntropy.begin(purpose, at: now, period: configuration.period)
        effects.append(.exchange(id, to: address, expecting: peer, wholeState(at: now)))
    }

    /// The table from a random place on, this node first, so that a table too large for one message is covered in turns.
    ///
    /// `asker` is what this node knew of who asks until it did: a copy learns so that its identity is in use.
    private mutating func wholeState(to asker: Member? = nil, at now: MonotonicInstant) -> [UInt8] {
        let members = table.members.filter { $0.id != selfID }
        let start = members.isEmpty ? 0 : Int(random.next() >> 33) % members.count
        let entries = ([own] + members[start...] + members[..<start]).map { member in
            let isReplaced = member.id == asker?.id && asker?.isUp == true
            let shown = isReplaced ? asker ?? member : member
            return StateMessage.Entry(shown, downSince: shown.isUp ? nil : table[shown.id]?.downSince, at: now)
        }
        return StateMessage(sender: selfID, bootID: bootID, entries: entries).encoded()
    }

    mutating func exchangeAnswered(_ id: ExchangeID, _ bytes: [UInt8], at now: MonotonicInstant) {
        guard let purpose = antiEntropy.end(id) else { return }
        let state: StateMessage
        do throws(CodecError) {
            state = try StateMessage(decoding: bytes)
        } catch {
            malformedState(error)
            return exchangeFailed(purpose, at: now)
        }
        if case .seed(let address) = purpose, joining.answered(address, by: state.sender, at: now),
            state.sender != selfID
        {
            effects.append(.notice(.seedReached(address, state.sender)))
        }
        merge(state, at: now)
    }

    mutating func exchangeFailed(_ purpose: AntiEntropy.Purpose?, at now: MonotonicInstant) {
        guard case .seed(let address) = purpose, joining.failed(address, at: now, random: &random) else { return }
        effects.append(.notice(.seedUnreachable(address)))
    }

    mutating func exchangeRequested(_ token: UInt64, _ bytes: [UInt8], at now: MonotonicInstant) {
        guard stage == .running else {
            effects.append(.answerExchange(token: token, nil))
            return
        }
        do throws(CodecError) {
            let asked = try StateMessage(decoding: bytes)
            let before = table[asked.sender]?.member
            merge(asked, at: now)
            effects.append(.answerExchange(token: token, wholeState(to: before, at: now)))
        } catch {
            malformedState(error)
            effects.append(.answerExchange(token: token, nil))
        }
    }

    private mutating func malformedState(_ error: CodecError) {
        counters.dropped.malformed += 1
        effects.append(.notice(.malformed(from: nil, error)))
    }

    private mutating func merge(_ state: StateMessage, at now: MonotonicInstant) {
        guard stage == .running else { return }
        if state.sender == selfID {
            // A seed's name that means this node itself, or a copy of it.
            if let own = state.entries.first(where: { $0.alive.id == selfID })?.alive { apply(own, at: now) }
            return
        }
        // A newcomer has nothing to tell the others about themselves.
        let passesOn = table.up.count > 1
        var challenges = 0
        for entry in state.entries {
            let id = entry.alive.id
            switch entry.state {
            case .alive, .suspect:
                mergeUp(entry, from: state.sender, passesOn: passesOn, challenges: &challenges, at: now)
            case .dead, .left: mergeDown(entry, from: state.sender, challenges: &challenges, at: now)
            }
            guard id != selfID else { continue }
            if let age = entry.loadAgeDuration {
                apply(entry.load, of: id, bootID: entry.alive.bootID, age: age, passingOn: false, at: now)
            }
            if id == state.sender { apply(entry.holdings, of: id, bootID: entry.alive.bootID) }
        }
    }

    private mutating func mergeUp(
        _ entry: StateMessage.Entry, from sender: PeerID, passesOn: Bool, challenges: inout Int,
        at now: MonotonicInstant
    ) {
        let alive = entry.alive
        if alive.id == selfID, entry.state == .suspect, alive.bootID == bootID, !isOfTwin(alive) {
            // Streams bring it to a node whose datagrams are blocked.
            return apply(claim(.suspect, entry, by: sender), at: now)
        }
        apply(alive, passingOn: passesOn, at: now)
        if let known = table[alive.id]?.member, known.state == .dead, known.bootID == alive.bootID,
            alive.incarnation <= known.incarnation, challenges < Self.challengesMax
        {
            // Dead here, alive there: only the member itself can decide, by refuting.
            challenges += 1
            send(
                [.claim(Claim(.dead, known, by: selfID)), .ping(pulseOfSelf(nextNumber()))], to: alive.metadata.address,
                as: .repair)
        }
    }

    private mutating func mergeDown(
        _ entry: StateMessage.Entry, from sender: PeerID, challenges: inout Int, at now: MonotonicInstant
    ) {
        let alive = entry.alive
        if alive.id == selfID, alive.bootID > bootID {
            return heardOfTwin(bootID: alive.bootID, at: alive.metadata.address, now)
        }
        if alive.id != selfID,
            table[alive.id] == nil || table[alive.id].map({ $0.member.bootID < alive.bootID }) == true
        {
            return remember(entry, at: now)
        }
        let claim = claim(entry.state == .left ? .left : .dead, entry, by: entry.state == .left ? alive.id : sender)
        guard claim.kind != .left, alive.id != selfID else { return apply(claim, at: now) }
        guard challenges < Self.challengesMax else { return }
        challenges += 1
        challenge(claim, at: now)
    }

    /// A tombstone of somebody unknown here: kept, so that old news cannot raise it and a partition can heal.
    private mutating func remember(_ entry: StateMessage.Entry, at now: MonotonicInstant) {
        let age = Duration.seconds(Int64(entry.downAge))
        let known = table[entry.alive.id]
        guard known != nil || (age < configuration.tombstoneLifetime && !table.isFull) else { return }
        var member = Member(
            id: entry.alive.id, bootID: entry.alive.bootID, incarnation: entry.alive.incarnation, state: entry.state,
            metadata: entry.alive.metadata, load: LoadRecord())
        member.load.slots = entry.alive.metadata.slots
        let downSince = MonotonicInstant(nanoseconds: now.nanoseconds &- age.nanoseconds)
        table.set(MemberTable.Entry(member: member, downSince: downSince), at: now)
        if known?.member.isUp == true { report(entry.state == .left ? .left : .died, member, at: now) }
    }

    private func claim(_ kind: Claim.Kind, _ entry: StateMessage.Entry, by accuser: PeerID) -> Claim {
        Claim(
            kind: kind, subject: entry.alive.id, bootID: entry.alive.bootID, incarnation: entry.alive.incarnation,
            accuser: accuser)
    }

    // MARK: Snapshot

    mutating func persist(at now: MonotonicInstant) {
        persistAt = nil
        persistAllowedAt = now + configuration.persistInterval
        // The up first; then the dead, which may come back. The departed said good-bye.
        let others = table.members.filter { $0.id != selfID }
        let kept = others.filter(\.isUp) + others.filter { $0.state == .dead }
        effects.append(
            .persist(
                kept.prefix(JoinSchedule.rememberedMax).map {
                    MemberSnapshot(id: $0.id, name: $0.name, address: $0.address)
                }))
    }
}
