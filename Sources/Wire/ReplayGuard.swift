/// Replay windows per node; a node's newer boot replaces the older one at once.
///
/// Memory is bounded: `sendersMax` windows of 160 bytes. When they are all taken, the longest silent eighth goes.
package struct ReplayGuard: Sendable {
    package enum Verdict: Sendable {
        case fresh
        case replayed
        /// From an earlier start of the sender than one that was heard already.
        case staleBoot
    }

    private struct Sender {
        var bootID: UInt64
        var window: ReplayWindow
        var lastHeard: UInt64
    }

    private let sendersMax: Int
    private var senders: [UInt64: Sender] = [:]
    private var clock: UInt64 = 0

    package init(sendersMax: Int = WireLimits.replaySendersMax) { self.sendersMax = sendersMax }

    package var sendersCount: Int { senders.count }

    /// Whether this is the first packet with these numbers; call it for authenticated packets only.
    package mutating func admit(node: UInt64, bootID: UInt64, counter: UInt64) -> Verdict {
        clock += 1
        if senders[node] == nil {
            if senders.count >= sendersMax { forgetOldest() }
            senders[node] = Sender(bootID: bootID, window: ReplayWindow(), lastHeard: clock)
        }
        return admitKnown(clock, bootID, counter, &senders[node])
    }

    /// In place: a copy of the window per packet would cost more than the look-up.
    private func admitKnown(_ clock: UInt64, _ bootID: UInt64, _ counter: UInt64, _ sender: inout Sender?) -> Verdict {
        guard let boot = sender?.bootID, bootID >= boot else { return .staleBoot }
        if bootID > boot { sender = Sender(bootID: bootID, window: ReplayWindow(), lastHeard: clock) }
        sender?.lastHeard = clock
        return sender?.window.admit(counter) == true ? .fresh : .replayed
    }

    private mutating func forgetOldest() {
        let ages = senders.values.map(\.lastHeard).sorted()
        let limit = ages[ages.count / 8]
        senders = senders.filter { $0.value.lastHeard > limit }
    }
}
