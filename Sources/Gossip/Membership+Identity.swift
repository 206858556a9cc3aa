internal import ClusterModel

/// Two processes with this node's identity.
extension Membership {
    /// Whether another process wrote this under this node's very boot id: what only a copied machine does.
    ///
    /// An older record of this process has a lower incarnation.
    func isOfTwin(_ alive: AliveRecord) -> Bool {
        alive.bootID == bootID && alive.incarnation >= own.incarnation
            && !own.metadata.isReached(at: alive.metadata.address)
    }

    mutating func reportTwin(at address: PeerAddress) {
        guard twin.report() else { return }
        effects.append(.notice(.identityConflict(address)))
    }

    mutating func heardOfTwin(bootID theirs: UInt64, at address: PeerAddress, _ now: MonotonicInstant) {
        guard stage == .running else { return }
        reportTwin(at: address)
        // The boot id that was asked for has not come yet.
        guard bootWantedAbove.map({ $0 < theirs }) ?? true else { return }
        let isLower = own.address < address
        switch twin.answer(
            to: address, sharesBoot: theirs == bootID, ownsLowerAddress: isLower, at: now, period: configuration.period)
        {
        case .defend:
            bootWantedAbove = theirs
            effects.append(.bootWanted(above: theirs))
        case .giveUp:
            stage = .left
            effects.append(.notice(.identityGivenUp(address)))
        }
    }

    /// This node goes on under a higher boot id, as if it had restarted.
    mutating func bootTaken(_ boot: UInt64, at now: MonotonicInstant) {
        guard stage == .running, boot > bootID, var entry = table[selfID] else { return }
        bootID = boot
        counters.bootsTaken += 1
        bootWantedAbove = nil
        publishedSequence = 0
        entry.member.bootID = boot
        entry.member.incarnation = 0
        hasNewMetadata = true
        table.set(entry, at: now)
        announceSelf(at: now)
        // Its datagrams may be blocked by what others took for its end; a stream is not.
        if let peer = pickUp(1).first { exchange(with: peer, at: now) }
    }
}
