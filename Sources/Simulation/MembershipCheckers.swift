internal import ClusterModel
internal import Gossip

/// At quiescence all running nodes see exactly the running nodes as alive, with one state hash.
package struct AgreementChecker: Sendable {
    package init() {}

    /// What is wrong, in words; empty when nothing is.
    package func violations(_ cluster: ClusterSimulation) -> [String] {
        let running = cluster.running
        var found: [String] = []
        for observer in running {
            for subject in cluster.nodes.indices {
                let state = cluster.state(of: subject, seenBy: observer)
                if running.contains(subject), state != .alive {
                    found.append("n\(observer) sees running n\(subject) as \(state.map { "\($0)" } ?? "unknown")")
                }
                if !running.contains(subject), state == .alive || state == .suspect {
                    found.append("n\(observer) sees stopped n\(subject) as up")
                }
            }
        }
        if Set(running.map { cluster.nodes[$0].membership.stateHash }).count > 1 { found.append("state hashes differ") }
        return found
    }
}

/// (boot, incarnation) of a member never goes back at any observer; left is never followed by dead in one boot.
package struct OrderChecker: Sendable {
    package init() {}

    package func violations(_ cluster: ClusterSimulation) -> [String] {
        struct Pair: Hashable {
            var observer: Int
            var subject: PeerID
        }
        var last: [Pair: Member] = [:]
        var found: [String] = []
        for observation in cluster.observations {
            let member = observation.change.member
            let pair = Pair(observer: observation.observer, subject: member.id)
            if let before = last[pair] {
                let isBack = (member.bootID, member.incarnation) < (before.bootID, before.incarnation)
                if isBack {
                    found.append("n\(pair.observer): \(member.name) went back to incarnation \(member.incarnation)")
                }
                if before.state == .left, member.state != .left, member.bootID == before.bootID {
                    found.append("n\(pair.observer): \(member.name) was left and became \(member.state)")
                }
            }
            last[pair] = member
        }
        return found
    }
}

/// No member is declared dead by anybody while it runs.
package struct FalseDeathChecker: Sendable {
    package init() {}

    package func violations(_ cluster: ClusterSimulation) -> [String] {
        cluster.observations.filter { $0.change.kind == .died }.compactMap { observation in
            let isRunning = cluster.running.contains { ClusterSimulation.id(of: $0) == observation.change.member.id }
            return isRunning ? "n\(observation.observer) declared \(observation.change.member.name) dead" : nil
        }
    }
}

/// Datagrams keep the packet limit; traffic keeps a budget.
package struct BudgetChecker: Sendable {
    /// Plaintext bytes per second and node.
    package var bytesPerSecondMax: Double

    package init(bytesPerSecondMax: Double) { self.bytesPerSecondMax = bytesPerSecondMax }

    package func violations(_ cluster: ClusterSimulation, over duration: Duration) -> [String] {
        var found: [String] = []
        for (index, node) in cluster.nodes.enumerated() {
            if node.largestDatagram > cluster.configuration.datagramBytesMax {
                found.append("n\(index) sent a datagram of \(node.largestDatagram) bytes")
            }
            let rate = Double(node.bytesSent) / duration.inSeconds
            if rate > bytesPerSecondMax { found.append("n\(index) sent \(Int(rate)) bytes per second") }
        }
        return found
    }
}
