internal import ClusterModel

/// One stream's state on a link.
struct MuxStream {
    let service: String
    let priority: StreamPriority

    // Outbound.
    var queue = Fifo<[UInt8]>()
    /// Bytes of the queue's first message that are framed already.
    var framed = 0
    /// Bytes in the queue that are not framed.
    var queuedBytes = 0
    var sendCredit = WireLimits.windowBytes
    var isFinishing = false
    var isFinishSent = false
    var isInTurn = false

    // Inbound.
    var partial: [UInt8] = []
    var partialCost = 0
    /// Bytes of the message that are still to come, as its first frame said; nil between messages.
    var partialRest: Int?
    var messages = Fifo<(bytes: [UInt8], cost: Int)>()
    var messagesCost = 0
    var receiveCredit = WireLimits.windowBytes
    var owedCredit = 0
    var isCreditPending = false
    var isPeerFinished = false

    /// Nobody reads any more.
    var isAbandoned = false
    /// Ended by a reset, of either side, or by the link's end.
    var isReset = false

    init(service: String, priority: StreamPriority) {
        self.service = service
        self.priority = priority
    }

    /// Bytes of the first message that are to be sent, and may be: there is credit for a frame of some of them.
    var unframed: Int? {
        guard let message = queue.first else { return nil }
        let rest = message.count - framed
        // Frames as short as the credit allows would cost more than they carry.
        return min(rest, WireLimits.shortFrameBytes) + WireLimits.frameCost <= sendCredit ? rest : nil
    }

    var canSendFrame: Bool {
        guard !isReset else { return false }
        return unframed != nil || isFinishDue
    }

    var isFinishDue: Bool { isFinishing && !isFinishSent && queue.isEmpty && !isReset }

    /// What is held for the reader, and the room that waits for the rest of a message.
    var held: Int { messagesCost + partialCost + (partialRest ?? 0) }

    /// Forgets what was received.
    mutating func dropReceived() {
        dropPartial()
        messages = Fifo()
        messagesCost = 0
    }

    mutating func dropPartial() {
        partial = []
        partialCost = 0
        partialRest = nil
    }
}
