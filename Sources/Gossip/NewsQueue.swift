/// The news of one class, those told least first and among them the oldest.
struct NewsQueue: Sendable {
    private struct Item: Sendable {
        let bytes: [UInt8]
        let isExempt: Bool
        /// It is sent no more often than this, whatever the class allows.
        let limit: Int
        var version: UInt64
        var transmissions = 0
        /// Copies that go out at once, without waiting for a probe to ride on.
        var pushesLeft: Int
        /// The round in which it was sent last: once per round.
        var round: UInt64 = 0
    }

    private struct Place: Sendable {
        var key: Dissemination.Key
        var version: UInt64
    }

    private var items: [Dissemination.Key: Item] = [:]
    /// By number of transmissions; places of items that were replaced or moved stay until they are met.
    private var levels: [[Place]] = []
    private var versions: UInt64 = 0
    private var round: UInt64 = 0
    private var cursor = (level: 0, offset: 0)
    /// Places in `levels`, the outdated included.
    private(set) var placed = 0
    /// Items still to be met that want to be pushed.
    private var pushesAhead = 0
    /// Items that still want to be pushed.
    private(set) var pushes = 0
    /// Items that the token bucket does not hold back, and those of them still to be met.
    private var exempts = 0
    private var exemptsAhead = 0
    /// The token bucket refused something since the last `rewind`.
    private(set) var wasHeldBack = false

    var isEmpty: Bool { items.isEmpty }
    var count: Int { items.count }

    mutating func put(
        _ bytes: [UInt8], as key: Dissemination.Key, pushes wanted: Int, isExempt: Bool, limit: Int = .max
    ) {
        remove(key)
        versions += 1
        items[key] = Item(bytes: bytes, isExempt: isExempt, limit: limit, version: versions, pushesLeft: wanted)
        if wanted > 0 { pushes += 1 }
        if isExempt { exempts += 1 }
        place(key, versions, at: 0)
    }

    mutating func remove(_ key: Dissemination.Key) {
        guard let gone = items.removeValue(forKey: key) else { return }
        if gone.pushesLeft > 0 { pushes -= 1 }
        if gone.isExempt { exempts -= 1 }
    }

    /// Drops the oldest above `limit`; returns how many.
    mutating func trim(to limit: Int) -> Int {
        var dropped = 0
        while items.count > limit, let oldest = items.min(by: { $0.value.version < $1.value.version }) {
            remove(oldest.key)
            dropped += 1
        }
        return dropped
    }

    mutating func beginRound() {
        round += 1
        rewind()
        guard placed > 2 * items.count + 64 else { return }
        placed = 0
        for level in levels.indices {
            levels[level].removeAll { items[$0.key]?.version != $0.version || items[$0.key]?.transmissions != level }
            placed += levels[level].count
        }
    }

    /// Looks at all records again; those sent in this round are passed over.
    mutating func rewind() {
        cursor = (0, 0)
        pushesAhead = pushes
        exemptsAhead = exempts
        wasHeldBack = false
    }

    /// The next record that fits `room` and was not yet sent in this round; none beyond `credit`.
    ///
    /// What the token bucket refuses is passed over until the next `rewind`, and with it all that is not exempt behind it:
    /// a refutation does not wait for it, nothing else overtakes it.
    mutating func next(
        room: Int, credit: Int, pushesOnly: Bool, limit: Int, tokens: inout TokenBucket
    )
        -> [UInt8]?
    {
        while cursor.level < levels.count, !pushesOnly || pushesAhead > 0, !wasHeldBack || exemptsAhead > 0 {
            guard cursor.offset < levels[cursor.level].count else {
                cursor = (cursor.level + 1, 0)
                continue
            }
            let place = levels[cursor.level][cursor.offset]
            guard var item = items[place.key], item.version == place.version, item.transmissions == cursor.level
            else {
                cursor.offset += 1
                continue
            }
            guard item.round != round, !pushesOnly || item.pushesLeft > 0, item.bytes.count <= room else {
                pass(item)
                continue
            }
            if wasHeldBack, !item.isExempt {
                pass(item)
                continue
            }
            // A longer record waits for its class to save up; what follows it waits with it, in order.
            guard item.bytes.count <= credit else { return nil }
            guard item.isExempt || tokens.take(item.bytes.count) else {
                wasHeldBack = true
                pass(item)
                continue
            }
            cursor.offset += 1
            item.round = round
            item.transmissions += 1
            // What stays is met once more in this pass, at its next level, and counts as ahead until then.
            if pushesOnly {
                item.pushesLeft -= 1
                if item.pushesLeft == 0 { (pushes, pushesAhead) = (pushes - 1, pushesAhead - 1) }
            }
            if item.transmissions >= min(limit, item.limit) {
                if item.pushesLeft > 0 { (pushes, pushesAhead) = (pushes - 1, pushesAhead - 1) }
                if item.isExempt { (exempts, exemptsAhead) = (exempts - 1, exemptsAhead - 1) }
                items[place.key] = nil
            } else {
                items[place.key] = item
                self.place(place.key, item.version, at: item.transmissions)
            }
            return item.bytes
        }
        return nil
    }

    private mutating func pass(_ item: Item) {
        if item.pushesLeft > 0 { pushesAhead -= 1 }
        if item.isExempt { exemptsAhead -= 1 }
        cursor.offset += 1
    }

    private mutating func place(_ key: Dissemination.Key, _ version: UInt64, at level: Int) {
        while levels.count <= level { levels.append([]) }
        placed += 1
        levels[level].append(Place(key: key, version: version))
    }
}
