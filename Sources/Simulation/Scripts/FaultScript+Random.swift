internal import ClusterModel

extension FaultScript {
    /// Tenths of a period in which faults begin.
    private static let span = 600
    private static let entriesAtMost = 10

    /// A script for `nodes` nodes, drawn from a seed.
    ///
    /// Node 0, through which all join, meets no end that lasts, so that there is always a cluster to come back to.
    package static func random(seed: UInt64, nodes: Int) -> FaultScript {
        var draw = Draw(random: SplitMix64(seed: SplitMix64.mix(seed ^ 0x5C21_97F0)))
        let count = 1 + draw.below(entriesAtMost)
        let entries = (0..<count).map { _ in
            let lasts = 5 + draw.below(draw.below(4) == 0 ? 400 : 100)
            let (fault, mayLast) = fault(&draw, nodes: nodes)
            let isForEver = mayLast && draw.below(3) == 0
            return Entry(at: draw.below(span), fault: fault, lasts: isForEver ? 0 : lasts)
        }
        return FaultScript((entries + rotations(seed, nodes: nodes)).sorted { $0.at < $1.at })
    }

    private static let rotationsAtMost = 4

    /// Rotations for half of the seeds, drawn apart so that the other faults of a seed stay what they were.
    private static func rotations(_ seed: UInt64, nodes: Int) -> [Entry] {
        var draw = Draw(random: SplitMix64(seed: SplitMix64.mix(seed ^ 0x207A_7E00)))
        guard draw.below(2) == 0 else { return [] }
        return (0...draw.below(rotationsAtMost)).map { _ in
            Entry(at: draw.below(span), fault: .rotate(draw.below(nodes)), lasts: 0)
        }
    }

    /// One fault, and whether it may last for ever.
    private static func fault(_ draw: inout Draw, nodes: Int) -> (Fault, Bool) {
        let node = draw.below(nodes)
        let other = 1 + draw.below(nodes - 1)
        switch draw.below(16) {
        case 0, 1:
            return (.crash(node, withHost: draw.below(2) == 0, keepsSnapshot: draw.below(2) == 0), node != 0)
        case 2: return (.leave(other), true)
        case 3, 4: return (.stall(node, withHost: false), false)
        case 5: return (.stall(node, withHost: true), false)
        case 6, 7:
            let side = (0..<nodes).filter { _ in draw.below(2) == 0 }
            return (.split(side.isEmpty ? [node] : side), false)
        case 8: return (.oneWay(node, (node + other) % nodes), false)
        case 9: return (.blocked(node), false)
        case 10: return (.sizeLimit(600 + draw.below(600)), false)
        case 11: return (.loss(percent: 5 + draw.below(45), burst: 1 + draw.below(4)), false)
        case 12:
            return (draw.below(2) == 0 ? .corruption(percent: 1 + draw.below(30)) : .duplication(percent: 50), false)
        case 13: return (.late(percent: 1 + draw.below(20)), false)
        case 14: return (.clone(node), draw.below(2) == 0)
        default:
            return draw.below(2) == 0
                ? (.clockJump(node, seconds: draw.below(7_200) - 3_600), false)
                : (.drift(node, perMille: draw.below(100) - 50), false)
        }
    }

    private struct Draw {
        var random: SplitMix64
        mutating func below(_ bound: Int) -> Int { Int(random.next() >> 33) % bound }
    }
}
