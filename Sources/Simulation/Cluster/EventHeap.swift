internal import ClusterModel

/// A binary heap of things to happen, by instant and, among equals, by the order in which they were planned.
struct EventHeap<Happening: Sendable>: Sendable {
    private struct Item: Sendable {
        var at: MonotonicInstant
        var order: UInt64
        var happening: Happening

        func isBefore(_ other: Item) -> Bool { at == other.at ? order < other.order : at < other.at }
    }

    private var items: [Item] = []
    private var planned: UInt64 = 0

    var nextAt: MonotonicInstant? { items.first?.at }

    mutating func plan(_ happening: Happening, at instant: MonotonicInstant) {
        planned += 1
        items.append(Item(at: instant, order: planned, happening: happening))
        var child = items.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard items[child].isBefore(items[parent]) else { break }
            items.swapAt(child, parent)
            child = parent
        }
    }

    mutating func next() -> (at: MonotonicInstant, happening: Happening)? {
        guard let first = items.first else { return nil }
        let last = items.removeLast()
        if !items.isEmpty {
            items[0] = last
            sink()
        }
        return (first.at, first.happening)
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < items.count && items[child].isBefore(items[least]) {
                least = child
            }
            guard least != parent else { return }
            items.swapAt(parent, least)
            parent = least
        }
    }
}
