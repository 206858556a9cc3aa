internal import ClusterModel
internal import Testing
internal import Transfer

/// Which holder is asked for what, and which is given up.
@Suite struct PullPlanTests {
    private static let chunkBytes = 64 << 10

    /// A pull that is carried out here: holders answer at their rate, in the order in which they were asked.
    private struct Exchange {
        var plan: PullPlan
        var now = MonotonicInstant.zero
        var asked: [Int: [PullPlan.Request]] = [:]
        var dropped: [Int: PullPlan.Reason] = [:]
        var served: [Int: Int] = [:]
        var isStarved = false
        var isFinished = false
        /// How often each request was checked.
        var checked: [Int: Int] = [:]

        init(chunks: Int, holders: Int) {
            plan = PullPlan(missing: Array(0..<chunks), holders: holders) { _ in PullPlanTests.chunkBytes }
        }

        mutating func tell(_ event: PullPlan.Event) {
            for effect in plan.handle(event, at: now) {
                switch effect {
                case .ask(let holder, let request): asked[holder, default: []].append(request)
                case .check(_, let request): checked[request.number, default: 0] += 1
                case .drop(let holder, let reason):
                    dropped[holder] = reason
                    asked[holder] = nil
                case .starved: isStarved = true
                case .finished: isFinished = true
                }
            }
        }

        /// The holder answers what it was asked first; false when that is nothing.
        mutating func answer(_ holder: Int) -> Bool {
            guard var line = asked[holder], !line.isEmpty else { return false }
            let request = line.removeFirst()
            asked[holder] = line
            served[holder, default: 0] += request.bytes
            let before = checked[request.number] ?? 0
            tell(.arrived(holder, request: request.number))
            if (checked[request.number] ?? 0) > before { tell(.stored(request: request.number)) }
            return true
        }

        /// Lets holders answer, each after its own milliseconds, until nothing is missing or nobody answers.
        mutating func run(_ milliseconds: [Int: Int]) {
            var next = milliseconds
            while !isFinished, let (holder, at) = next.min(by: { ($0.value, $0.key) < ($1.value, $1.key) }) {
                now = max(now, .zero + .milliseconds(at))
                next[holder] = at + (milliseconds[holder] ?? 1)
                guard answer(holder) || asked.values.contains(where: { !$0.isEmpty }) else { return }
            }
        }
    }

    @Test func `a faster holder gives more, each chunk is stored once, and the end waits for no slow one`() {
        var exchange = Exchange(chunks: 1_000, holders: 2)
        exchange.tell(.joined(1))
        exchange.tell(.joined(2))
        exchange.run([1: 10, 2: 100])
        #expect(exchange.isFinished && exchange.dropped.isEmpty)
        #expect(exchange.checked.count == exchange.plan.requests.count)
        #expect(exchange.checked.values.allSatisfy { $0 == 1 })
        let (fast, slow) = (exchange.served[1] ?? 0, exchange.served[2] ?? 0)
        #expect(fast > 5 * slow && slow > 0, "\(fast) \(slow)")
        // What the slow one had at the end was asked of the fast one: without that its window of two takes 200 ms.
        let alone = Double(exchange.plan.requests.count) * 10
        #expect((exchange.now - .zero).inSeconds * 1_000 < alone + 20)
    }

    @Test func `a fast holder has more under way than a slow one`() {
        var exchange = Exchange(chunks: 4_000, holders: 2)
        exchange.tell(.joined(1))
        exchange.tell(.joined(2))
        var most: [Int: Int] = [:]
        for round in 1...40 {
            exchange.now = .zero + .milliseconds(round * 20)
            _ = exchange.answer(1)
            if round % 40 == 0 { _ = exchange.answer(2) }
            for holder in [1, 2] { most[holder] = max(most[holder] ?? 0, exchange.asked[holder]?.count ?? 0) }
        }
        #expect(most == [1: 8, 2: 2], "\(most)")
    }

    @Test func `what a holder that lied, left or fell silent had is asked of another`() {
        for way in 0..<3 {
            var exchange = Exchange(chunks: 200, holders: 2)
            exchange.tell(.joined(1))
            exchange.tell(.joined(2))
            let own = exchange.asked[1] ?? []
            #expect(!own.isEmpty)
            switch way {
            case 0:
                exchange.tell(.arrived(1, request: own[0].number))
                exchange.tell(.refuted(1, request: own[0].number))
                #expect(exchange.dropped == [1: .lied])
            case 1:
                exchange.tell(.left(1))
                exchange.asked[1] = nil
                #expect(exchange.dropped.isEmpty)
            default:
                exchange.now = exchange.now + TransferLimits().silence
                exchange.tell(.heard(2, .part(bytes: 1)))
                exchange.tell(.tick)
                #expect(exchange.dropped.isEmpty)
                exchange.now = exchange.now + .milliseconds(1)
                exchange.tell(.tick)
                #expect(exchange.dropped == [1: .stalled])
            }
            exchange.run([2: 10])
            #expect(exchange.isFinished, "way \(way)")
            let all = Set(exchange.plan.requests.map(\.number))
            #expect(Set(exchange.checked.keys) == all)
        }
    }

    @Test func `without holders a pull starves once, and goes on with the next one`() {
        var exchange = Exchange(chunks: 50, holders: 1)
        exchange.tell(.joined(1))
        exchange.tell(.left(1))
        #expect(exchange.isStarved && !exchange.isFinished)
        exchange.isStarved = false
        exchange.asked = [:]
        exchange.tell(.tick)
        #expect(!exchange.isStarved)
        exchange.tell(.joined(2))
        exchange.run([2: 1])
        #expect(exchange.isFinished)
    }

    @Test func `a holder that sends drop by drop is replaced, and not as a liar`() {
        let limits = TransferLimits()
        var exchange = Exchange(chunks: 50, holders: 1)
        exchange.tell(.joined(1))
        let drop = Duration.seconds(4)
        #expect(drop < limits.silence)
        while exchange.dropped.isEmpty, exchange.now - .zero < limits.ratePeriod * 3 {
            exchange.now = exchange.now + drop
            exchange.tell(.heard(1, .part(bytes: 1)))
            exchange.tell(.tick)
        }
        #expect(exchange.dropped == [1: .stalled])
        #expect(exchange.now - .zero <= limits.ratePeriod + drop)
        exchange.tell(.joined(2))
        exchange.run([2: 10])
        #expect(exchange.isFinished)
    }

    @Test func `a slow holder that keeps the least rate is not replaced`() {
        let limits = TransferLimits()
        var exchange = Exchange(chunks: 50, holders: 1)
        exchange.tell(.joined(1))
        for _ in 0..<300 {
            exchange.now = exchange.now + .seconds(1)
            exchange.tell(.heard(1, .part(bytes: limits.leastRate)))
            exchange.tell(.tick)
        }
        #expect(exchange.dropped.isEmpty)
    }

    @Test func `a holder that serves others first is waited for as long as it says so`() {
        var exchange = Exchange(chunks: 50, holders: 1)
        exchange.tell(.joined(1))
        for _ in 0..<3_600 {
            exchange.now = exchange.now + .seconds(1)
            exchange.tell(.heard(1, .waiting))
            exchange.tell(.tick)
        }
        #expect(exchange.dropped.isEmpty)
        var frozen = exchange
        frozen.now = frozen.now + TransferLimits().silence + .milliseconds(1)
        frozen.tell(.tick)
        #expect(frozen.dropped == [1: .stalled])
        // Its rate is that of the time in which it served.
        exchange.now = exchange.now + .milliseconds(10)
        for _ in 0..<3 {
            let answers = exchange.answer(1)
            #expect(answers)
            exchange.now = exchange.now + .milliseconds(10)
        }
        #expect((exchange.asked[1]?.count ?? 0) > 2)
    }

    @Test func `what a holder that serves others first was asked for comes from one that serves now`() {
        var exchange = Exchange(chunks: 50, holders: 2)
        exchange.tell(.joined(1))
        exchange.tell(.joined(2))
        #expect(exchange.asked[1]?.isEmpty == false)
        for _ in 0..<exchange.plan.requests.count where !exchange.isFinished {
            exchange.now = exchange.now + .seconds(1)
            exchange.tell(.heard(1, .waiting))
            exchange.tell(.tick)
            let answers = exchange.answer(2)
            #expect(answers)
        }
        #expect(exchange.isFinished && exchange.dropped.isEmpty && exchange.served[1] == nil)
        #expect(exchange.checked.values.allSatisfy { $0 == 1 })
    }

    @Test func `a pack is expected once, and from a holder that was asked for it`() throws {
        var exchange = Exchange(chunks: 200, holders: 2)
        exchange.tell(.joined(1))
        exchange.tell(.joined(2))
        let own = try #require(exchange.asked[1]?.first)
        #expect(exchange.plan.expected(own.number, of: 1) == own.bytes)
        #expect(exchange.plan.expected(own.number, of: 2) == nil)
        #expect(exchange.plan.expected(own.number, of: 3) == nil)
        #expect(exchange.plan.expected(exchange.plan.requests.count, of: 1) == nil)
        let answers = exchange.answer(1)
        #expect(answers)
        #expect(exchange.plan.expected(own.number, of: 1) == nil)
        #expect(exchange.plan.works(1))
        let next = try #require(exchange.asked[1]?.first)
        exchange.tell(.left(1))
        #expect(!exchange.plan.works(1) && exchange.plan.expected(next.number, of: 1) == nil)
    }
}
