package import ClusterModel

/// Decides which holder is asked for which chunks of a layer, and which holder is given up.
///
/// What is missing is cut into requests, in the layer's order. Each holder has a window of requests under way, sized by
/// the rate it was measured at, and gets the next one when a pack has come: the fastest gets the most. Once nothing
/// waits, an idle holder is given what another one, slower, has at the end of its line; the first answer counts. A
/// holder that stalls (`ProgressWatch`) is dropped, and so is one whose bytes do not match: that one has lied. What
/// they had under way is asked of others. One that serves others first keeps its place as long as it says so, and an
/// idle one takes over what it was asked for.
package struct PullPlan: Sendable {
    /// A number that the shell gives to a stream.
    package typealias Holder = Int

    package struct Request: Sendable, Hashable {
        package let number: Int
        /// Chunk ordinals.
        package let ranges: [Range<Int>]
        package let bytes: Int
    }

    package enum Event: Sendable {
        case joined(Holder)
        /// The holder serves others first, or part of a pack that it was asked for has come.
        case heard(Holder, ProgressWatch.Sign)
        /// All of a pack has come.
        case arrived(Holder, request: Int)
        /// The chunks of a request are as their digests say, and stored.
        case stored(request: Int)
        /// The bytes for a request are not the chunks.
        case refuted(Holder, request: Int)
        /// The stream is over.
        case left(Holder)
        case tick
    }

    package enum Effect: Sendable, Hashable {
        case ask(Holder, Request)
        /// Check and store what has come; other answers to the request have not come before.
        case check(Holder, Request)
        case drop(Holder, Reason)
        /// Nobody is left to ask, and something is missing.
        case starved
        case finished
    }

    package enum Reason: Sendable, Hashable {
        case stalled
        case lied
    }

    /// Smaller requests are not worth a round trip, except that several holders shall all have some.
    package static let requestBytesMin = 256 << 10
    private static let windowMin = 2
    private static let windowMax = 8
    /// So much time of a holder's rate is under way.
    private static let windowSeconds = 0.25
    /// Bytes a second of a holder that has not been measured.
    private static let rateGuess = 4_000_000.0

    private enum State: Sendable, Hashable {
        case waiting
        case asked(copies: Int)
        case checking
        case done
    }

    private struct Line: Sendable {
        let holder: Holder
        /// Requests under way, in the order in which they are answered.
        var asked: [Int] = []
        var watch: ProgressWatch
        var lastArrival: MonotonicInstant
        /// Bytes a second; nil before the first pack.
        var rate: Double?
        /// Whether the holder serves others first.
        var isWaiting = false

        mutating func heard(_ sign: ProgressWatch.Sign, at now: MonotonicInstant) {
            watch.note(sign, at: now)
            isWaiting = sign == .waiting
            // Its rate is measured from when it begins to serve.
            if isWaiting { lastArrival = now }
        }
    }

    package let limits: TransferLimits
    package let requests: [Request]
    private var states: [State]
    /// Waiting requests, next one last.
    private var queue: [Int]
    private var lines: [Line] = []
    private var doneCount = 0
    private var isStarved = true

    /// Plans for `missing` ordinals in rising order; `holders` is how many may work at once, `length` a chunk's bytes.
    package init(
        missing: [Int], holders: Int, limits: TransferLimits = TransferLimits(), length: (Int) -> Int
    ) {
        let total = missing.reduce(0) { $0 + length($1) }
        let target = min(
            TransferMessage.packBytesMax, max(Self.requestBytesMin, total / max(1, holders * Self.windowMax)))
        var requests: [Request] = []
        var ranges: [Range<Int>] = []
        var bytes = 0
        for ordinal in missing {
            let next = length(ordinal)
            let opensRange = ranges.last?.upperBound != ordinal
            if bytes > 0, bytes + next > target || opensRange && ranges.count == TransferMessage.rangesMax {
                requests.append(Request(number: requests.count, ranges: ranges, bytes: bytes))
                (ranges, bytes) = ([], 0)
            }
            if let last = ranges.last, last.upperBound == ordinal {
                ranges[ranges.count - 1] = last.lowerBound..<ordinal + 1
            } else {
                ranges.append(ordinal..<ordinal + 1)
            }
            bytes += next
        }
        if bytes > 0 { requests.append(Request(number: requests.count, ranges: ranges, bytes: bytes)) }
        self.limits = limits
        self.requests = requests
        states = Array(repeating: .waiting, count: requests.count)
        queue = requests.indices.reversed()
    }

    package var isFinished: Bool { doneCount == requests.count }

    /// Whether the holder has joined, and was neither dropped nor has left.
    package func works(_ holder: Holder) -> Bool { index(of: holder) != nil }

    /// Bytes of the pack that the holder owes for a request; nil for one that it was not asked for or has answered.
    package func expected(_ request: Int, of holder: Holder) -> Int? {
        guard let index = index(of: holder), lines[index].asked.contains(request) else { return nil }
        return requests[request].bytes
    }

    package mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
        switch event {
        case .joined(let holder):
            guard !isFinished else { return [.finished] }
            isStarved = false
            lines.append(Line(holder: holder, watch: ProgressWatch(limits, at: now), lastArrival: now))
            return assign(at: now)
        case .heard(let holder, let sign):
            if let index = index(of: holder) { lines[index].heard(sign, at: now) }
            return []
        case .arrived(let holder, let number): return arrived(holder, number, at: now)
        case .stored(let number):
            guard states[number] == .checking else { return [] }
            states[number] = .done
            doneCount += 1
            return isFinished ? [.finished] : assign(at: now)
        case .refuted(let holder, let number):
            states[number] = .waiting
            queue.append(number)
            let isNew = index(of: holder) != nil
            return (isNew ? [.drop(holder, .lied)] : []) + remove(holder, at: now)
        case .left(let holder): return remove(holder, at: now)
        case .tick:
            var stalled: [Holder] = []
            for index in lines.indices where !lines[index].asked.isEmpty {
                let isStalled = lines[index].watch.isStalled(at: now)
                if isStalled { stalled.append(lines[index].holder) }
            }
            return stalled.flatMap { [.drop($0, .stalled)] + remove($0, at: now) } + assign(at: now)
        }
    }

    private mutating func arrived(_ holder: Holder, _ number: Int, at now: MonotonicInstant) -> [Effect] {
        guard let index = index(of: holder), let place = lines[index].asked.firstIndex(of: number) else { return [] }
        lines[index].asked.remove(at: place)
        lines[index].heard(.answer, at: now)
        let seconds = max(1e-4, (now - lines[index].lastArrival).inSeconds)
        let rate = Double(requests[number].bytes) / seconds
        lines[index].rate = lines[index].rate.map { $0 * 0.7 + rate * 0.3 } ?? rate
        lines[index].lastArrival = now
        var effects: [Effect] = []
        if case .asked = states[number] {
            states[number] = .checking
            effects.append(.check(holder, requests[number]))
        }
        return effects + assign(at: now)
    }

    private mutating func remove(_ holder: Holder, at now: MonotonicInstant) -> [Effect] {
        if let index = index(of: holder) {
            for number in lines.remove(at: index).asked.reversed() {
                guard case .asked(let copies) = states[number] else { continue }
                states[number] = copies > 1 ? .asked(copies: copies - 1) : .waiting
                if copies <= 1 { queue.append(number) }
            }
        }
        guard lines.isEmpty else { return assign(at: now) }
        guard !queue.isEmpty, !isStarved else { return [] }
        isStarved = true
        return [.starved]
    }

    /// Fills every window.
    private mutating func assign(at now: MonotonicInstant) -> [Effect] {
        var effects: [Effect] = []
        // One round after the other, so that holders that join together share what there is.
        var isOver = false
        while !isOver {
            isOver = true
            for index in lines.indices where lines[index].asked.count < window(of: lines[index]) {
                guard let number = queue.popLast() else { break }
                ask(number, index, copies: 1, at: now, &effects)
                isOver = false
            }
        }
        if queue.isEmpty { steal(at: now, &effects) }
        return effects
    }

    private mutating func ask(
        _ number: Int, _ index: Int, copies: Int, at now: MonotonicInstant, _ effects: inout [Effect]
    ) {
        states[number] = .asked(copies: copies)
        if lines[index].asked.isEmpty {
            lines[index].watch = ProgressWatch(limits, at: now)
            lines[index].lastArrival = now
        }
        lines[index].asked.append(number)
        effects.append(.ask(lines[index].holder, requests[number]))
    }

    /// Gives idle holders what slower ones have at the end of their lines.
    private mutating func steal(at now: MonotonicInstant, _ effects: inout [Effect]) {
        for index in lines.indices where lines[index].asked.isEmpty && !lines[index].isWaiting {
            let own = lines[index].rate ?? Self.rateGuess
            var best: (number: Int, seconds: Double)?
            for other in lines where other.holder != lines[index].holder {
                guard let last = other.asked.last(where: { states[$0] == .asked(copies: 1) }) else { continue }
                let rest = other.asked.reduce(0) { $0 + requests[$1].bytes }
                // One of which nothing has come is as slow as its silence is long.
                let rate = other.rate ?? Double(requests[last].bytes) / max(1e-3, (now - other.lastArrival).inSeconds)
                // One that serves others first may begin at any time, or never.
                let seconds = other.isWaiting ? .infinity : Double(rest) / max(1, rate)
                if seconds > best?.seconds ?? 0 { best = (last, seconds) }
            }
            guard let best, best.seconds > 2 * Double(requests[best.number].bytes) / own else { continue }
            ask(best.number, index, copies: 2, at: now, &effects)
        }
    }

    private func window(of line: Line) -> Int {
        guard let rate = line.rate, let largest = requests.first?.bytes, largest > 0 else { return Self.windowMin }
        let wanted = (rate * Self.windowSeconds / Double(largest)).rounded(.up)
        return max(Self.windowMin, wanted < Double(Self.windowMax) ? Int(wanted) : Self.windowMax)
    }

    private func index(of holder: Holder) -> Int? { lines.firstIndex { $0.holder == holder } }
}
