/// What befalls a simulated cluster, and when: a value that can be written down, drawn at random and cut down.
///
/// In text, entries are separated by `;`: the tenth of a period at which it begins, the fault, and `for` how many tenths
/// it lasts, as `120 crash 3 host for 200 snapshot; 50 split 0,2,5 for 80`.
package struct FaultScript: Hashable, Sendable {
    package enum Fault: Hashable, Sendable {
        /// Killed; on a host that lives on, or with the host. Started again at the end, if there is one.
        case crash(Int, withHost: Bool, keepsSnapshot: Bool)
        case leave(Int)
        /// The process stands still, its kernel answers; or the host stands still.
        case stall(Int, withHost: Bool)
        /// These reach each other and none of the others.
        case split([Int])
        /// Nothing gets from the first to the second.
        case oneWay(Int, Int)
        /// Datagrams of this node are dropped both ways.
        case blocked(Int)
        /// Larger UDP payloads vanish.
        case sizeLimit(Int)
        /// In percent, in runs of this mean length.
        case loss(percent: Int, burst: Int)
        case corruption(percent: Int)
        case duplication(percent: Int)
        /// So many percent of the datagrams arrive up to 30 s late.
        case late(percent: Int)
        /// A second process with this node's identity and snapshot.
        case clone(Int)
        /// The wall clock is set forward or back, in seconds.
        case clockJump(Int, seconds: Int)
        /// The monotonic clock gains, in parts per thousand.
        case drift(Int, perMille: Int)
        /// An operator tells this node to rotate the cluster keys.
        case rotate(Int)
    }

    package struct Entry: Hashable, Sendable {
        /// In tenths of a period.
        package var at: Int
        package var fault: Fault
        /// In tenths of a period; 0 for a crash or clone that lasts.
        package var lasts: Int
    }

    package var entries: [Entry]

    package init(_ entries: [Entry]) { self.entries = entries }

    /// Whether it takes nodes with keys to play it.
    var rotates: Bool { self != withoutRotations }

    var withoutRotations: FaultScript {
        FaultScript(entries.filter { if case .rotate = $0.fault { false } else { true } })
    }

    /// No fault begins or ends later than this.
    package static let tenthsMax = 10_000
    package static let entriesMax = 1_000
}
