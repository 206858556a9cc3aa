internal import ClusterModel
internal import Gossip

/// Nobody dies for what befell others: a member is not declared dead by an observer that reached it all the while, unless
/// its own host, the way between the two, or 40 % of all datagrams were in trouble not long before.
///
/// A stopped process whose kernel answers is innocent for 30 periods, and one whose datagrams are blocked for ever.
struct InnocentChecker: Sendable {
    private let script: FaultScript
    private let period: Duration
    var start = MonotonicInstant.zero
    private var seen = 0

    /// What was in trouble stays suspicious for so long, in tenths of a period.
    private static let after = 200
    private static let stallTenthsMax = 290
    private static let lossPercentMax = 40

    init(_ script: FaultScript, period: Duration) {
        self.script = script
        self.period = period
    }

    mutating func violations(_ cluster: ClusterSimulation) -> [String] {
        defer { seen = cluster.falseDeathPairs.count }
        return cluster.falseDeathPairs[seen...].compactMap { death in
            let tenths = Int((death.at - start).inSeconds / period.inSeconds * 10)
            let causes = script.entries.filter { entry in
                entry.at <= tenths && (entry.lasts == 0 || tenths <= entry.at + entry.lasts + Self.after)
            }
            /// A copy shares the fate of the node that it was made from.
            func of(_ index: Int) -> Int { cluster.nodes[index].identity }
            let loss = causes.reduce(0) { $0 + $1.fault.lossPercent }
            guard loss <= Self.lossPercentMax,
                !causes.contains(where: { Self.explains($0, of(death.observer), of(death.subject)) }),
                stalls(of: death.subject, until: tenths) < Self.stallTenthsMax
            else { return nil }
            return "innocent: n\(death.observer) declared n\(death.subject) dead for nothing"
        }
    }

    private static func explains(_ entry: FaultScript.Entry, _ observer: Int, _ subject: Int) -> Bool {
        switch entry.fault {
        case .crash(let node, _, _), .leave(let node), .stall(let node, withHost: true), .clone(let node):
            node == subject || node == observer
        case .split(let side): side.contains(observer) != side.contains(subject)
        case .oneWay(let from, let to): Set([from, to]) == Set([observer, subject])
        case .stall, .blocked, .sizeLimit, .loss, .corruption, .duplication, .late, .clockJump, .drift, .rotate: false
        }
    }

    /// Tenths of a period that the subject stood still lately.
    private func stalls(of subject: Int, until tenths: Int) -> Int {
        script.entries.reduce(0) { sum, entry in
            guard case .stall(subject, withHost: false) = entry.fault, entry.at <= tenths,
                tenths <= entry.at + entry.lasts + Self.after
            else { return sum }
            return sum + entry.lasts
        }
    }
}

extension FaultScript.Fault {
    fileprivate var lossPercent: Int {
        switch self {
        case .loss(let percent, _), .corruption(let percent), .late(let percent): percent
        default: 0
        }
    }
}
