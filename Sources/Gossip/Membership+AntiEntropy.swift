internal import ClusterModel

/// Differences of two tables: small ones are mended by datagrams, large ones by a stream.
extension Membership {
    /// Buckets that may differ before a stream is the cheaper way.
    private static let bucketsByDatagramMax = 8
    /// Alive records that one `want` may ask for, and gets in as many datagrams as they need.
    private static let wantedMax = 16

    /// The other's state hash differs from this node's.
    mutating func repair(_ origin: Origin, _ pulse: Pulse, _ now: MonotonicInstant) {
        let difference = abs(Int(pulse.upCount) - min(table.up.count, Int(UInt16.max)))
        let isFar = difference > AntiEntropy.farCount
        let isStranger = table[origin.id]?.member.bootID != origin.bootID
        guard stage == .running,
            antiEntropy.wantsRepair(
                at: now, tableChangedAt: table.changedAt, isFar: isFar || isStranger, period: configuration.period)
        else { return }
        counters.antiEntropy.differencesSeen += 1
        if isFar || isStranger || table.isFull { return wholeRepair(with: origin, at: now) }
        counters.antiEntropy.byDatagrams += 1
        let count = Buckets.count(members: table.count, datagramBytesMax: configuration.datagramBytesMax)
        sendPacked([.buckets(table.bucketHashes(count: count))], to: answerAddress(origin), at: now)
    }

    private mutating func wholeRepair(with origin: Origin, at now: MonotonicInstant) {
        counters.antiEntropy.byStream += 1
        exchange(for: .repair(origin.id), to: table[origin.id]?.address ?? origin.source, expecting: origin.id, at: now)
    }

    /// The other knows what no datagram tells.
    mutating func repairByStream(with origin: Origin, at now: MonotonicInstant) {
        guard stage == .running, isKnown(origin),
            antiEntropy.wantsRepair(
                at: now, tableChangedAt: table.changedAt, isFar: true, period: configuration.period)
        else { return }
        wholeRepair(with: origin, at: now)
    }

    mutating func exchange(with id: PeerID, at now: MonotonicInstant) {
        guard let address = table[id]?.address else { return }
        exchange(for: .repair(id), to: address, expecting: id, at: now)
    }

    /// What a datagram gives cause for: one at a time with each peer, as it can give cause for many.
    private mutating func exchangeOnce(with id: PeerID, at now: MonotonicInstant) {
        guard antiEntropy.mayRepair(with: id) else { return }
        counters.antiEntropy.byStream += 1
        exchange(with: id, at: now)
    }

    /// Answers with the buckets that differ; never to strangers, and never more than the asker will have use for.
    mutating func bucketsReceived(_ hashes: [UInt32], from origin: Origin, at now: MonotonicInstant) {
        let count = hashes.count
        guard stage == .running, isKnown(origin), count >= Buckets.countMin, count <= Buckets.countMax,
            count & (count - 1) == 0
        else { return }
        let own = table.bucketHashes(count: count)
        let differing = own.indices.filter { own[$0] != hashes[$0] }
        guard !differing.isEmpty else { return }
        let records = differing.prefix(Self.bucketsByDatagramMax).map { index in
            Record.bucket(
                index: UInt16(index), of: UInt16(count), table.standings(inBucket: index, of: count))
        }
        let fits = records.allSatisfy { Codec.encode($0).count <= configuration.datagramBytesMax }
        guard differing.count <= Self.bucketsByDatagramMax, fits else {
            return exchangeOnce(with: origin.id, at: now)
        }
        sendPacked(Array(records), to: answerAddress(origin), at: now)
    }

    /// Compares one bucket with this node's own: asks for what is newer there, tells what is newer here.
    mutating func bucketReceived(
        _ index: UInt16, of count: UInt16, _ standings: [Standing], from origin: Origin, at now: MonotonicInstant
    ) {
        guard stage == .running, isKnown(origin), count & (count - 1) == 0 else { return }
        var wanted: [PeerID] = []
        var news: [Record] = []
        var listed: Set<PeerID> = []
        var isByStream = false
        for standing in standings where Buckets.index(of: standing.id, count: Int(count)) == Int(index) {
            listed.insert(standing.id)
            guard let known = table[standing.id]?.member, standing.id != selfID else {
                if standing.id == selfID {
                    hearOfSelf(standing, from: origin, at: now)
                } else {
                    wanted.append(standing.id)
                }
                continue
            }
            let theirs = (standing.bootID, standing.incarnation)
            let ours = (known.bootID, known.incarnation)
            if theirs.0 != ours.0, !known.isUp || standing.state == .dead || standing.state == .left {
                // The end of a boot means nothing to who does not know that boot; a whole record has it.
                isByStream = true
            } else if theirs > ours {
                wanted.append(standing.id)
            } else if theirs < ours {
                if known.state == .dead { askTheDead(known) } else { news.append(record(of: known)) }
            } else {
                settle(known, standing, news: &news, at: now)
            }
        }
        for mine in table.standings(inBucket: Int(index), of: Int(count)) where !listed.contains(mine.id) {
            if let member = table[mine.id]?.member, member.state != .dead { news.append(record(of: member)) }
        }
        if !wanted.isEmpty { news.append(.want(Array(wanted.prefix(Self.wantedMax)))) }
        sendPacked(news, to: answerAddress(origin), at: now)
        if isByStream, !antiEntropy.isRepairing { wholeRepair(with: origin, at: now) }
    }

    /// Same boot and incarnation, another state.
    private mutating func settle(
        _ known: Member, _ standing: Standing, news: inout [Record], at now: MonotonicInstant
    ) {
        switch (known.state, standing.state) {
        case (.left, .left), (.dead, .dead): break
        case (_, .left): apply(Claim(.left, known, by: known.id), at: now)
        case (.left, _): news.append(.claim(Claim(.left, known, by: known.id)))
        case (.dead, _): askTheDead(known)
        case (_, .dead): challenge(Claim(.dead, known, by: selfID), at: now)
        case (.alive, _), (.suspect, _): break
        }
    }

    /// Dead here, up there: only the member itself can decide.
    private mutating func askTheDead(_ member: Member) {
        send(
            [.claim(Claim(.dead, member, by: selfID)), .ping(pulseOfSelf(nextNumber()))], to: member.address,
            as: .repair)
    }

    private mutating func hearOfSelf(_ standing: Standing, from origin: Origin, at now: MonotonicInstant) {
        guard standing.bootID == bootID else {
            // Only the whole record says where the other process is.
            if standing.bootID < bootID { announceSelf(at: now) } else { exchangeOnce(with: origin.id, at: now) }
            return
        }
        if standing.incarnation > own.incarnation {
            raiseIncarnation(above: standing.incarnation, at: now)
        } else if standing.state == .dead || standing.incarnation < own.incarnation {
            announceSelf(at: now)
        }
    }

    mutating func wanted(_ ids: [PeerID], by origin: Origin, at now: MonotonicInstant) {
        guard stage == .running, isKnown(origin) else { return }
        sendPacked(
            ids.prefix(Self.wantedMax).compactMap { table[$0].map { record(of: $0.member) } },
            to: answerAddress(origin), at: now)
    }

    /// What brings another table to what this one says of a member.
    private func record(of member: Member) -> Record {
        switch member.state {
        case .alive, .suspect: .alive(AliveRecord(member))
        case .dead: .claim(Claim(.dead, member, by: selfID))
        case .left: .claim(Claim(.left, member, by: member.id))
        }
    }

    private func isKnown(_ origin: Origin) -> Bool {
        table[origin.id]?.member.bootID == origin.bootID
    }

    /// In as few datagrams as hold them; what the token bucket holds back comes with the next comparison.
    private mutating func sendPacked(_ records: [Record], to address: PeerAddress, at now: MonotonicInstant) {
        var batch: [Record] = []
        var size = 0
        for record in records {
            let bytes = Codec.encode(record).count
            guard bytes <= configuration.datagramBytesMax else { continue }
            if size + bytes > configuration.datagramBytesMax {
                guard dissemination.admits(size, at: now) else { return }
                send(batch, to: address, as: .repair)
                batch = []
                size = 0
            }
            batch.append(record)
            size += bytes
        }
        if !batch.isEmpty, dissemination.admits(size, at: now) { send(batch, to: address, as: .repair) }
    }
}
