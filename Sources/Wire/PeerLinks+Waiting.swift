internal import ClusterModel
internal import Logging
internal import UVLoop

/// Streams that wait to be served: their openers are told that this node lives.
extension PeerLinks {
    /// What is said on a stream of the service while it waits; nil says nothing.
    package typealias WaitingMessage = @Sendable (_ service: String) -> [UInt8]?

    /// Sets what is said on streams that wait to be served, at once and then every `LinkTimes.waitingPulse`.
    ///
    /// The messages come before all that the handler sends, and none comes after the handler has got the stream. Until
    /// this is called nothing is said.
    package func setWaitingMessage(_ message: @escaping WaitingMessage) { waitingMessage = message }

    /// Lets a stream wait for its turn to be served.
    func enqueue(_ accepted: UnservedStream, as handle: UInt64) {
        counted.servesDelayed += 1
        unserved[handle] = accepted
        sayWaiting(handle)
        startPulsing()
    }

    /// Queues the word on the stream; whoever calls this lets the link send.
    private func sayWaiting(_ handle: UInt64) {
        guard let entry = streams[handle], entry.link.failure == nil, let message = waitingMessage?(entry.service),
            entry.link.machine.streams.hasRoom(entry.id), entry.link.machine.streams.send(message, on: entry.id)
        else { return }
        counted.count(service: entry.service) { $0.bytesOut += UInt64(message.count) }
    }

    /// Says on all streams that wait that they still do.
    func pulse() {
        isPulsing = false
        for handle in Array(unserved.keys) {
            sayWaiting(handle)
            if let link = streams[handle]?.link { pump(link) }
        }
        startPulsing()
    }

    private func startPulsing() {
        guard !isPulsing, !unserved.isEmpty, !stopped else { return }
        do {
            try pulseTimer?.start(after: configuration.times.waitingPulse)
            isPulsing = true
        } catch {
            logger.error("cannot tell peers that their streams wait", metadata: ["error": "\(error)"])
        }
    }
}
