internal import ClusterModel

/// What this node says of itself.
extension Membership {
    mutating func changeLoad(_ load: LoadRecord, at now: MonotonicInstant) {
        var next = load.rounded
        next.flags.subtract(.own)
        next.flags.formUnion(own.load.flags.intersection(.own))
        setLoad(next, at: now)
    }

    mutating func setFlag(_ flag: LoadRecord.Flags, _ isSet: Bool, at now: MonotonicInstant) {
        var next = own.load
        if isSet { next.flags.insert(flag) } else { next.flags.remove(flag) }
        setLoad(next, at: now)
    }

    private mutating func setLoad(_ load: LoadRecord, at now: MonotonicInstant) {
        let before = own.load
        var next = load
        next.sequence = before.sequence
        guard next != before else { return }
        next.sequence = before.sequence &+ 1
        table.updateLoad(next, of: selfID, at: now)
        guard next.isNews(after: before) else { return }
        // A change of class is pushed at once, at most once per period; draining always.
        let isPushed =
            next.loadClass != before.loadClass && (now >= loadPushAllowedAt || next.isDraining != before.isDraining)
        if isPushed { loadPushAllowedAt = now + configuration.period }
        gossip(.load(selfID, bootID: bootID, next, age: .zero), as: .load(selfID), pushing: isPushed, at: now)
    }

    mutating func changeHoldings(_ holdings: Holdings) {
        guard holdings != own.holdings else { return }
        holdingsVersion += 1
        table.updateHoldings(holdings, of: selfID)
    }

    mutating func changeMetadata(_ metadata: MemberMetadata, at now: MonotonicInstant) {
        // Others would refuse it; the caller validated its first metadata by the initialiser.
        do throws(GossipConfigurationError) { try metadata.validate() } catch { return }
        guard var entry = table[selfID], entry.member.metadata != metadata, stage != .leaving else { return }
        entry.member.metadata = metadata
        // A step in the upper half: a short refutation cannot stand for this record.
        entry.member.incarnation = (entry.member.incarnation >> 16 + 1) << 16
        hasNewMetadata = true
        table.set(entry, at: now)
        announceSelf(at: now)
    }

    mutating func leave(at now: MonotonicInstant) {
        guard stage == .running, var entry = table[selfID] else {
            if stage == .waiting {
                stage = .left
                effects.append(.leaveFinished)
            }
            return
        }
        stage = .leaving
        entry.member.state = .left
        table.set(entry, at: now)
        probes.removeAll()
        persist(at: now)
        // Long enough for the pushes and for a probe to be answered with the news.
        leaveAt = table.up.isEmpty ? now : now + configuration.period
        let farewell = Claim(
            kind: .left, subject: selfID, bootID: bootID, incarnation: own.incarnation, accuser: selfID)
        gossip(.claim(farewell), as: .standing(selfID), at: now)
    }
}
