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

/// (boot, incarnation) of a member never goes back at any observer; left is never followed by another state in one boot.
///
/// Looks at one observation after the other.
package struct OrderChecker: Sendable {
    private struct Pair: Hashable, Sendable {
        var observer: Int
        var subject: PeerID
    }

    private struct Seen: Sendable {
        var bootID: UInt64
        var incarnation: UInt32
        var hasLeft: Bool
    }

    private var last: [Pair: Seen] = [:]

    package init() {}

    /// What is wrong with it, in words; nil when nothing is.
    package mutating func check(_ observation: ClusterSimulation.Observation) -> String? {
        let member = observation.change.member
        let pair = Pair(observer: observation.observer, subject: member.id)
        let seen = Seen(bootID: member.bootID, incarnation: member.incarnation, hasLeft: member.state == .left)
        // A restarted observer begins anew; what it forgot it may learn again.
        guard let before = last.updateValue(seen, forKey: pair), observation.change.kind != .joined else { return nil }
        if (member.bootID, member.incarnation) < (before.bootID, before.incarnation) {
            return "order: n\(pair.observer) saw \(member.name) go back to incarnation \(member.incarnation)"
        }
        if before.hasLeft, !seen.hasLeft, member.bootID == before.bootID {
            return "order: n\(pair.observer) saw \(member.name) leave and become \(member.state)"
        }
        return nil
    }
}

/// At quiescence all running nodes have one state hash and count exactly the running nodes: what `AgreementChecker` says,
/// without looking at every pair.
package struct ConvergenceChecker: Sendable {
    package init() {}

    package func holds(_ cluster: ClusterSimulation) -> Bool {
        var hash: UInt64?
        var count = 0
        for node in cluster.nodes where node.isRunning { count += 1 }
        for node in cluster.nodes where node.isRunning {
            guard node.membership.upCount == count, hash == nil || hash == node.membership.stateHash,
                !node.membership.hasSuspects
            else { return false }
            hash = node.membership.stateHash
        }
        return true
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
