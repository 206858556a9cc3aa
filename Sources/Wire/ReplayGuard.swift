/// Replay windows per node; a node's newer boot replaces the older one at once.
struct ReplayGuard {
    private struct Sender {
        var bootID: UInt64
        var window: ReplayWindow
        var lastHeard: UInt64
    }

    private let sendersMax: Int
    private var senders: [UInt64: Sender] = [:]
    private var clock: UInt64 = 0

    init(sendersMax: Int = WireLimits.replaySendersMax) { self.sendersMax = sendersMax }

    /// Whether this is the first packet with these numbers; call it for authenticated packets only.
    mutating func admit(node: UInt64, bootID: UInt64, counter: UInt64) -> Bool {
        clock += 1
        guard var sender = senders[node] else {
            if senders.count >= sendersMax { forgetOldest() }
            var window = ReplayWindow()
            _ = window.admit(counter)
            senders[node] = Sender(bootID: bootID, window: window, lastHeard: clock)
            return true
        }
        if bootID < sender.bootID { return false }
        if bootID > sender.bootID { sender = Sender(bootID: bootID, window: ReplayWindow(), lastHeard: clock) }
        sender.lastHeard = clock
        let isNew = sender.window.admit(counter)
        senders[node] = sender
        return isNew
    }

    private mutating func forgetOldest() {
        guard let oldest = senders.min(by: { $0.value.lastHeard < $1.value.lastHeard }) else { return }
        senders[oldest.key] = nil
    }
}
