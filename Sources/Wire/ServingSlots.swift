internal import ClusterModel

/// Which streams of peers are served at once: control always, of bulk a bounded number, blocking pulls first.
///
/// Who waits stays a stream of its link, so the link's bound of streams is the bound of the queue.
struct ServingSlots {
    private let bulkMax: Int
    private(set) var running = 0
    private var waiting = StreamPriority.allCases.map { _ in Fifo<UInt64>() }

    /// Serves at most `bulkMax` bulk streams at once.
    init(bulkMax: Int) { self.bulkMax = bulkMax }

    /// Whether stream `handle` is served now; else it waits until `released` names it.
    mutating func admit(_ handle: UInt64, _ priority: StreamPriority) -> Bool {
        guard priority.isBulk else { return true }
        guard running >= bulkMax else {
            running += 1
            return true
        }
        waiting[Int(priority.rawValue)].append(handle)
        return false
    }

    /// A stream of this priority is no longer served: which one is to be served instead, if any.
    mutating func released(_ priority: StreamPriority) -> UInt64? {
        guard priority.isBulk else { return nil }
        for index in waiting.indices {
            if let handle = waiting[index].popFirst() { return handle }
        }
        running -= 1
        return nil
    }
}
