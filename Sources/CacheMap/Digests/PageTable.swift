/// The pages of a digest, ready for questions.
///
/// All Golomb-Rice values lie in one array, so that a question touches two cache lines or three.
struct PageTable: Sendable {
    private struct Slot: Sendable {
        var first: UInt64
        /// Last hash of the page's part.
        var last: UInt64
        var depth: UInt64
        /// 0 for a page that is not Golomb-Rice coded.
        var range: UInt64
        var start: Int
        var count: Int
    }

    private(set) var pages: [DigestPage]
    private var slots: [Slot] = []
    private var values: [UInt32] = []

    /// Of an empty digest.
    init() { pages = [] }

    /// Nil unless the pages cover the hash space without gap or overlap.
    init?(_ unsorted: [DigestPage]) {
        pages = unsorted.sorted { ($0.prefix.bits, $0.prefix.depth) < ($1.prefix.bits, $1.prefix.depth) }
        guard Self.covers(pages) else { return nil }
        values.reserveCapacity(pages.reduce(0) { $0 + $1.valueCount })
        for page in pages {
            var slot = Slot(
                first: page.prefix.bits, last: page.prefix.last, depth: UInt64(page.prefix.depth), range: 0,
                start: values.count, count: 0)
            if case .rice(let own, let range) = page.content {
                values += own
                slot.range = UInt64(range)
                slot.count = own.count
            }
            slots.append(slot)
        }
    }

    /// With `fresh` pages in the place of those they overlap; nil unless the result covers every hash once.
    func replacing(_ fresh: [DigestPage]) -> PageTable? {
        let sorted = fresh.sorted { $0.prefix.bits < $1.prefix.bits }
        let kept = pages.filter { old in
            // The last fresh page that begins in or before the old one's part.
            var (low, high) = (0, sorted.count)
            while low < high {
                let middle = (low + high) / 2
                if sorted[middle].prefix.bits <= old.prefix.last { low = middle + 1 } else { high = middle }
            }
            return low == 0 || !sorted[low - 1].prefix.overlaps(old.prefix)
        }
        if fresh.isEmpty { return self }
        return PageTable(kept + sorted)
    }

    func mayContain(_ hash: UInt64) -> Bool {
        guard !slots.isEmpty else { return false }
        // Prefixes of hashes are spread evenly: the page is where its share of the hash space says, or near.
        var place = Int(hash.multipliedFullWidth(by: UInt64(slots.count)).high)
        while slots[place].first > hash { place -= 1 }
        while slots[place].last < hash { place += 1 }
        let slot = slots[place]
        guard slot.range > 0 else { return pages[place].mayContain(hash) }
        let wanted = UInt32(truncatingIfNeeded: (hash << slot.depth).multipliedFullWidth(by: slot.range).high)
        return contains(wanted, slot)
    }

    /// Values are spread evenly too: looks where `wanted` should stand, then in doubling steps, then halves the rest.
    private func contains(_ wanted: UInt32, _ slot: Slot) -> Bool {
        let end = slot.start + slot.count
        let guess = slot.start + Int(UInt64(wanted) * UInt64(slot.count) / slot.range)
        return values.withUnsafeBufferPointer { values in
            var low = slot.start
            var high = end
            var step = 8
            if values[guess] < wanted {
                low = guess + 1
                while low + step < end, values[low + step] < wanted {
                    low += step + 1
                    step *= 2
                }
                high = min(end, low + step + 1)
            } else {
                high = guess + 1
                while high - step > low, values[high - step] >= wanted {
                    high -= step - 1
                    step *= 2
                }
                low = max(low, high - step)
            }
            while low < high {
                let middle = (low + high) / 2
                if values[middle] < wanted { low = middle + 1 } else { high = middle }
            }
            return low < end && values[low] == wanted
        }
    }

    private static func covers(_ pages: [DigestPage]) -> Bool {
        var next: UInt64? = 0
        for page in pages {
            guard page.prefix.bits == next else { return false }
            let (end, overflow) = page.prefix.last.addingReportingOverflow(1)
            next = overflow ? nil : end
        }
        return next == nil
    }
}

extension DigestPage {
    fileprivate var valueCount: Int {
        if case .rice(let values, _) = content { return values.count }
        return 0
    }
}
