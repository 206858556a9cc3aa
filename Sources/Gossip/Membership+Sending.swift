internal import ClusterModel

/// What leaves this node.
extension Membership {
    /// What a datagram is for, in the counters.
    enum Use { case probing, membership, repair, direct }

    private mutating func count(_ framed: [[UInt8]], as use: Use) {
        let bytes = framed.reduce(0) { $0 + UInt64($1.count) }
        switch use {
        case .probing: counters.sentBytes.probing += bytes
        case .membership: counters.sentBytes.membership += bytes
        case .repair: counters.sentBytes.repair += bytes
        case .direct: counters.sentBytes.direct += bytes
        }
    }

    func pulseOfSelf(_ number: UInt32) -> Pulse {
        Pulse(
            number: number, stateHash: table.stateHash, upCount: UInt16(clamping: table.up.count),
            mapRoot: mapRoots.own, load: ownLoad)
    }

    var farewell: Claim {
        Claim(kind: .left, subject: selfID, bootID: bootID, incarnation: own.incarnation, accuser: selfID)
    }

    /// What a member that is not simply alive should hear of itself.
    func standing(of entry: MemberTable.Entry) -> Claim? {
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

    mutating func sendPing(to entry: MemberTable.Entry, number: UInt32, attempt: Int = 0) {
        // The claim first: the answer then shows the refutation.
        var records: [Record] = []
        if let claim = standing(of: entry) { records.append(.claim(claim)) }
        records.append(.ping(pulseOfSelf(number)))
        records += roomForAnswers
        if let news = untoldHoldings(to: entry.member.id) { records.append(news) }
        let address = entry.member.metadata.address(at: Int(entry.addressIndex) + attempt)
        send(records, to: address, riding: true)
    }

    /// What a node sends beside its questions when its address is not the one that it advertises: nobody answers more
    /// bytes there than came.
    var roomForAnswers: [Record] {
        ownLoad.flags.contains(.addressDoubtful) ? [AliveRecord(own).refutation] : []
    }

    /// Sends the records that must go, and with `riding` as much news as fits behind them.
    mutating func send(
        _ records: [Record], to address: PeerAddress, riding: Bool = false, as use: Use = .probing,
        at now: MonotonicInstant? = nil
    ) {
        var framed = records.map { Codec.encode($0) }
        count(framed, as: use)
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
        let dropped = dissemination.enqueue(
            bytes, as: key, pushing: pushing, isExempt: record.isUrgent, isHurried: record.isHurried)
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
        let user = UserRecord(
            origin: selfID, bootID: bootID, sequence: publishedSequence, bytes: bytes, isUrgent: isUrgent)
        gossip(user, at: now)
    }

    /// What is not urgent waits for its like at every hop.
    mutating func gossip(_ user: UserRecord, at now: MonotonicInstant) {
        gossip(
            .user(user), as: .user(user.origin, user.sequence),
            delay: user.isUrgent ? Dissemination.pushDelay : Dissemination.batchDelay, at: now)
    }

    mutating func sendDirect(_ bytes: [UInt8], to id: PeerID, at now: MonotonicInstant) {
        precondition(!bytes.isEmpty && bytes.count <= directBytesMax, "a direct record has 1...directBytesMax bytes")
        guard stage == .running, id != selfID, let entry = table[id], entry.member.isUp else {
            counters.dropped.directs += 1
            return
        }
        send([.direct(bytes)], to: entry.address, as: .direct)
    }

    /// This node's holdings, if the peer has not been sent them as they are now; counts them as sent.
    mutating func untoldHoldings(to id: PeerID) -> Record? {
        guard holdingsVersion > 0, let told = table[id]?.holdingsTold, told != holdingsVersion else { return nil }
        table.holdingsTold(holdingsVersion, to: id)
        return .holdings(own.holdings)
    }

    mutating func push(at now: MonotonicInstant) {
        nextPushAt = nil
        for id in pickUp(Dissemination.pushFanOut) {
            guard let address = table[id]?.address else { continue }
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
