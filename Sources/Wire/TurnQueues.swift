internal import ClusterModel

/// Which stream sends the next frame: the most urgent first, in turn among equals, and nobody for ever last.
struct TurnQueues {
    /// After so many frames of more urgent streams, one of the least urgent goes.
    ///
    /// Large enough that urgent streams keep 15 of 16 parts of a full link, small enough that others never look dead.
    static let patience = 16

    private var queues = StreamPriority.allCases.map { _ in Fifo<UInt32>() }
    /// Frames that went while somebody less urgent waited.
    private var passedOver = 0

    mutating func append(_ stream: UInt32, _ priority: StreamPriority) { queues[Int(priority.rawValue)].append(stream) }

    /// Whether somebody waits who may go; with `allowsBulk` false only control may.
    func isWaiting(allowsBulk: Bool) -> Bool {
        StreamPriority.allCases.contains { !queues[Int($0.rawValue)].isEmpty && (allowsBulk || !$0.isBulk) }
    }

    /// Takes the stream whose turn it is.
    mutating func next(allowsBulk: Bool) -> (stream: UInt32, priority: StreamPriority)? {
        let waiting = StreamPriority.allCases.filter {
            !queues[Int($0.rawValue)].isEmpty && (allowsBulk || !$0.isBulk)
        }
        guard let first = waiting.first, let last = waiting.last else { return nil }
        let chosen: StreamPriority
        if first == last {
            chosen = first
        } else if passedOver >= Self.patience {
            passedOver = 0
            chosen = last
        } else {
            passedOver += 1
            chosen = first
        }
        return queues[Int(chosen.rawValue)].popFirst().map { ($0, chosen) }
    }
}
