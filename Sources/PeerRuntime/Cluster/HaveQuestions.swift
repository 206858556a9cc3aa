internal import CacheMap
internal import ClusterModel

/// Who waits for which answer: joins single keys to questions of a datagram and gives the answers back.
struct HaveQuestions {
    struct Answer: Sendable {
        /// Bytes of the result's layers; nil where the key is not held.
        var bytes: UInt64?
        /// Steps that run and wait at the holder.
        var load: Int
    }

    typealias Waiter = CheckedContinuation<Answer?, Never>

    private var exchange: HaveExchange
    /// Payload of a datagram to one member.
    private let datagramBytesMax: Int
    private var gathered: [PeerID: [(key: CacheKey, waiter: Waiter)]] = [:]
    private var waiting: [HaveExchange.QuestionID: [Waiter]] = [:]

    init(first: UInt32, datagramBytesMax: Int) {
        exchange = HaveExchange(first: first)
        self.datagramBytesMax = datagramBytesMax
    }

    /// Puts a key into the next question to `peer`; true when it is the first and somebody has to send it.
    mutating func add(_ key: CacheKey, _ peer: PeerID, _ waiter: Waiter) -> Bool {
        gathered[peer, default: []].append((key, waiter))
        return gathered[peer]?.count == 1
    }

    mutating func send(to peer: PeerID, at now: MonotonicInstant) -> [HaveExchange.Effect] {
        var rest = (gathered.removeValue(forKey: peer) ?? [])[...]
        var effects: [HaveExchange.Effect] = []
        while !rest.isEmpty {
            let some = rest.prefix(HaveRequest.keysPerDatagram(bytes: datagramBytesMax - DigestMessage.tagBytes))
            guard !some.isEmpty else {
                for item in rest { item.waiter.resume(returning: nil) }
                return effects
            }
            rest = rest.dropFirst(some.count)
            let (id, more) = exchange.ask(
                some.map(\.key), peer, datagramBytesMax: datagramBytesMax - DigestMessage.tagBytes, at: now)
            waiting[id] = some.map(\.waiter)
            effects += more
        }
        return effects
    }

    mutating func answered(_ answer: HaveAnswer, by peer: PeerID) -> [HaveExchange.Effect] {
        exchange.answered(answer, by: peer)
    }

    mutating func expire(at now: MonotonicInstant) -> [HaveExchange.Effect] { exchange.expire(at: now) }

    /// Hands the answer out; returns how many keys were confirmed and denied.
    mutating func finish(_ id: HaveExchange.QuestionID, _ answer: HaveAnswer) -> (confirmed: Int, denied: Int) {
        let waiters = waiting.removeValue(forKey: id) ?? []
        for (waiter, bytes) in zip(waiters, answer.sizes) {
            waiter.resume(returning: Answer(bytes: bytes, load: Int(answer.running) + Int(answer.queued)))
        }
        let confirmed = answer.sizes.count { $0 != nil }
        return (confirmed, answer.sizes.count - confirmed)
    }

    mutating func giveUp(_ id: HaveExchange.QuestionID) {
        for waiter in waiting.removeValue(forKey: id) ?? [] { waiter.resume(returning: nil) }
    }
}
