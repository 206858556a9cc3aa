/// One stream's state on a link.
struct MuxStream {
    let service: String

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
    var messages = Fifo<(bytes: [UInt8], cost: Int)>()
    var receiveCredit = WireLimits.windowBytes
    var owedCredit = 0
    var isCreditPending = false
    var isPeerFinished = false

    /// Nobody reads any more.
    var isAbandoned = false
    /// Ended by a reset, of either side, or by the link's end.
    var isReset = false

    /// Bytes of the next data frame; nil when there is none to send or no credit for it.
    var nextDataBytes: Int? {
        guard let message = queue.first else { return nil }
        let bytes = min(message.count - framed, WireLimits.frameDataBytesMax)
        return bytes + WireLimits.frameCost <= sendCredit ? bytes : nil
    }

    var canSendFrame: Bool {
        guard !isReset else { return false }
        return nextDataBytes != nil || isFinishDue
    }

    var isFinishDue: Bool { isFinishing && !isFinishSent && queue.isEmpty && !isReset }
}
