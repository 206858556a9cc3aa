internal import ClusterModel

/// Probes for others, and the choice of those who probe for this node.
extension Membership {
    mutating func relay(_ number: UInt32, subject: PeerID, for asker: PeerAddress, at now: MonotonicInstant) {
        guard subject != selfID, relayed.count < RelayedProbe.countMax, let entry = table[subject] else {
            if relayed.count >= RelayedProbe.countMax { counters.dropped.relays += 1 }
            send([.nack(number: number)], to: asker, as: .probing)
            return
        }
        let own = nextNumber()
        relayed.append(
            RelayedProbe(
                number: own, subject: subject, askedNumber: number, asker: asker,
                deadline: now + configuration.period * ProbeTiming.relayPatience))
        send([.ping(pulseOfSelf(own))], to: entry.address, as: .probing)
    }

    mutating func relayAnswered(_ number: UInt32, by id: PeerID, bootID: UInt64, incarnation: UInt32) {
        guard let index = relayed.firstIndex(where: { $0.number == number && $0.subject == id }) else { return }
        let done = relayed.remove(at: index)
        send(
            [.vouch(number: done.askedNumber, bootID: bootID, incarnation: incarnation)], to: done.asker, as: .probing)
    }

    mutating func expireRelayed(at now: MonotonicInstant) {
        for probe in relayed where probe.deadline <= now {
            send([.nack(number: probe.askedNumber)], to: probe.asker, as: .probing)
        }
        relayed.removeAll { $0.deadline <= now }
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
