internal import ClusterModel

// What is missing is fetched from its owner.
extension MapExchange {
    /// Notes that something of the digest of `peer` is missing.
    ///
    /// A little later it may have come by itself.
    mutating func want(
        _ peer: PeerID, target: MapPosition? = nil, isWhole: Bool = false, after delay: Duration,
        at now: MonotonicInstant
    ) {
        guard peers[peer]?.isLive == true else { return }
        var repair = peers[peer]?.repair ?? Repair(dueAt: now + delay, target: target)
        if repair.failures == 0, repair.fetch == nil { repair.dueAt = min(repair.dueAt, now + delay) }
        repair.isWhole = repair.isWhole || isWhole
        if let target, repair.target?.isBehind(target) ?? true { repair.target = target }
        peers[peer]?.repair = repair
    }

    mutating func follow(_ outcome: PeerDigests.Outcome, _ peer: PeerID, target: MapPosition?, at now: MonotonicInstant)
    {
        switch outcome {
        case .applied, .ignored: break
        case .behind:
            // Records of gossip overtake each other: the missing one is mostly on its way.
            want(peer, target: target, after: settings.period / 4, at: now)
        case .unusable(.unknown): want(peer, target: target, after: spread(peer, within: settings.period / 2), at: now)
        case .unusable(.full): want(peer, isWhole: true, after: .zero, at: now)
        case .unusable(.damaged):
            counters.damaged += 1
            effects.append(.notice(.damaged(peer)))
            want(peer, isWhole: true, after: .zero, at: now)
        case .unusable(.refused):
            counters.refused += 1
            effects.append(.notice(.refused(from: peer)))
        }
    }

    /// Opens the streams that are due, those due longest first.
    mutating func startFetches(at now: MonotonicInstant) {
        guard fetches.count < Self.fetchesMax else { return }
        let due = peers.compactMap { peer, state -> (MonotonicInstant, PeerID)? in
            guard let repair = state.repair, repair.fetch == nil, repair.dueAt <= now else { return nil }
            return (repair.dueAt, peer)
        }.sorted { ($0.0, $0.1) < ($1.0, $1.1) }
        for (_, peer) in due {
            guard let repair = peers[peer]?.repair, isNeeded(repair, peer) else {
                peers[peer]?.repair = nil
                continue
            }
            guard fetches.count < Self.fetchesMax else { return }
            let request = repair.isWhole ? .everything : digests.request(to: peer)
            let id = open(peer, .request(request), isSummary: false)
            digests.beginFetch(from: peer)
            peers[peer]?.repair?.fetch = id
            peers[peer]?.repair?.isAnswered = false
        }
    }

    private func isNeeded(_ repair: Repair, _ peer: PeerID) -> Bool {
        guard !repair.isWhole, let position = digests.position(of: peer), let target = repair.target else {
            return true
        }
        return position.isBehind(target) || digests.views[peer]?.hasGap == true
    }

    private mutating func open(_ peer: PeerID, _ message: DigestMessage, isSummary: Bool) -> FetchID {
        fetchCount += 1
        let id = FetchID(rawValue: fetchCount)
        fetches[id] = (peer, isSummary)
        counters.fetches += 1
        effects.append(.fetch(id, from: peer, message.encoded()))
        return id
    }

    func fetch(from peer: PeerID) -> FetchID? {
        fetches.filter { $0.value.peer == peer && !$0.value.isSummary }.keys.min { $0.rawValue < $1.rawValue }
    }

    mutating func abandon(_ id: FetchID) {
        guard let (peer, isSummary) = fetches.removeValue(forKey: id) else { return }
        if !isSummary { digests.endFetch(from: peer) }
        effects.append(.abandon(id))
    }

    // MARK: Answers

    mutating func fetched(_ id: FetchID, _ bytes: [UInt8], at now: MonotonicInstant) {
        guard let (peer, isSummary) = fetches[id] else { return }
        do throws(CodecError) {
            switch try DigestMessage(decoding: bytes) {
            case .pages(let answer) where !isSummary:
                if answer.isWhole, answer.isFirst { counters.wholeDigests += 1 }
                let outcome = digests.apply(answer, from: peer)
                if peers[peer]?.isLive == true { digests.setLive(peer, true) }
                if answer.isLast, outcome == .applied || outcome == .behind { peers[peer]?.repair?.isAnswered = true }
                if outcome == .unusable(.refused) { failed(id, peer, at: now) }
                follow(outcome, peer, target: answer.position, at: now)
            case .summaries(let summaries) where isSummary: observe(summaries, at: now)
            default: throw .invalid(field: "digest answer")
            }
        } catch {
            malformed(peer, error)
            failed(id, peer, at: now)
        }
    }

    mutating func fetchEnded(_ id: FetchID, at now: MonotonicInstant) {
        guard let (peer, isSummary) = fetches.removeValue(forKey: id) else { return }
        guard !isSummary else { return }
        digests.endFetch(from: peer)
        guard let repair = peers[peer]?.repair, repair.fetch == id else { return }
        guard repair.isAnswered else { return retry(peer, at: now) }
        // The owner itself has answered: what somebody else said of it before is settled, unless it is newer still.
        let isOpen = repair.target.flatMap { target in digests.position(of: peer)?.isBehind(target) } ?? false
        let hasGap = digests.views[peer]?.hasGap == true
        peers[peer]?.repair = nil
        if isOpen || hasGap { want(peer, target: repair.target, after: settings.period, at: now) }
    }

    private mutating func failed(_ id: FetchID, _ peer: PeerID, at now: MonotonicInstant) {
        let isSummary = fetches[id]?.isSummary ?? true
        abandon(id)
        if !isSummary { retry(peer, at: now) }
    }

    private mutating func retry(_ peer: PeerID, at now: MonotonicInstant) {
        counters.fetchesFailed += 1
        guard var repair = peers[peer]?.repair else { return }
        repair.fetch = nil
        repair.dueAt = now + settings.period * (1 << min(repair.failures, Self.backoffMax))
        repair.failures += 1
        peers[peer]?.repair = repair
    }

    mutating func malformed(_ peer: PeerID, _ error: CodecError) {
        counters.malformed += 1
        effects.append(.notice(.malformed(from: peer, error)))
    }

    // MARK: Questions of others

    mutating func request(_ token: UInt64, _ bytes: [UInt8], at now: MonotonicInstant) {
        guard let message = try? DigestMessage(decoding: bytes) else {
            counters.malformed += 1
            effects.append(.answer(token: token, nil))
            return
        }
        switch message {
        case .request(let request):
            // Pages are as of the last delta.
            flush(at: now)
            let parts = own.answer(request, at: now)
            effects.append(.answer(token: token, parts.map { DigestMessage.pages($0).encoded() }))
        case .summaryRequest:
            let known = summaries().sorted { $0.owner < $1.owner }.prefix(DigestMessage.summariesMax)
            effects.append(.answer(token: token, [DigestMessage.summaries(Array(known)).encoded()]))
        default:
            counters.malformed += 1
            effects.append(.answer(token: token, nil))
        }
    }

    // MARK: Differences

    mutating func rootDiffers(_ peer: PeerID, at now: MonotonicInstant) {
        counters.rootDifferences += 1
        let period = settings.period
        if differences.lastAt.map({ now - $0 > period * 2 }) ?? true { differences.since = now }
        differences.lastAt = now
        if differences.askedAt.map({ now - $0 >= period / 4 }) ?? true {
            differences.askedAt = now
            effects.append(.direct(DigestMessage.buckets(bucketRoots()).encoded(), to: peer))
        }
        guard let since = differences.since, now - since > period * 2,
            differences.streamedAt.map({ now - $0 >= period * Self.streamPeriods }) ?? true
        else { return }
        differences.streamedAt = now
        _ = open(peer, .summaryRequest, isSummary: true)
    }

    mutating func observe(_ summaries: [MapSummary], at now: MonotonicInstant) {
        for summary in summaries where summary.owner != selfID && peers[summary.owner]?.isLive == true {
            follow(
                digests.observe(summary.position, of: summary.owner), summary.owner, target: summary.position, at: now)
        }
    }
}
