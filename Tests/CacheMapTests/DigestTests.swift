import ClusterModel
import OCI
import Testing

@testable import CacheMap

private let hashKey = MapHashKey(bytes: (0..<16).map(UInt8.init))
private let peer = PeerID(rawValue: 7)

/// Distinct keys without hashing: digests of 32 mixed bytes.
private func key(_ number: Int) -> CacheKey {
    var bytes: [UInt8] = []
    for word in 0..<4 {
        let mixed = SplitMix64.mix(UInt64(number) &* 4 &+ UInt64(word) &+ 1)
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: mixed >> UInt64(shift)))
        }
    }
    return CacheKey(Digest(bytes: bytes) ?? Digest.of([]))
}

private func digest(keys: Range<Int>, clusterSize: Int = 64, epoch: UInt32 = 1) throws -> CacheMapDigest {
    CacheMapDigest(epoch: epoch, hashKey: try #require(hashKey), clusterSize: clusterSize, keys: keys.map(key))
}

private func digests() throws -> PeerDigests { PeerDigests(hashKey: try #require(hashKey)) }

/// Answers requests until the view is complete; every message goes through its encoding.
private func repair(_ view: inout PeerDigests, from owner: CacheMapDigest, _ request: DigestRequest) throws {
    for answer in owner.answer(request) {
        let bytes = DigestMessage.pages(answer).encoded()
        guard case .pages(let read) = try DigestMessage(decoding: bytes) else {
            Issue.record("no pages")
            return
        }
        let outcome = view.apply(read, from: peer)
        #expect(outcome == .applied)
    }
}

private let nothing = DigestRequest(epoch: 0, sequence: 0)

struct DigestTests {
    @Test func `SipHash agrees with the paper`() throws {
        // Appendix A: key 00…0f, message 00…0e.
        #expect(try #require(hashKey).hash((0..<15).map(UInt8.init)) == 0xA129_CA61_49BE_45E5)
        #expect(MapHashKey(bytes: [1, 2]) == nil)
    }

    @Test(arguments: [(8, 1), (64, 500), (64, 20_000), (512, 5_000)])
    func `no false negatives, and false hits within the promise`(clusterSize: Int, count: Int) throws {
        let owner = try digest(keys: 0..<count, clusterSize: clusterSize)
        var view = try digests()
        try repair(&view, from: owner, nothing)
        #expect((0..<count).allSatisfy { view.mayHold(peer, key($0)) })
        let questions = 60_000
        let hits = (count..<count + questions).count { view.mayHold(peer, key($0)) }
        let promise = 0.1 / Double(clusterSize) * Double(questions)
        // Three standard deviations of a count are allowed on top: few hits are expected at all.
        #expect(Double(hits) <= 1.1 * promise + 3 * promise.squareRoot(), "\(hits) of \(promise)")
    }

    @Test func `full pages keep the promise by themselves`() throws {
        let shape = BloomShape(clusterSize: 64)
        var random = SplitMix64(seed: 2)
        let hashes = (0..<shape.capacity).map { _ in random.next() }.sorted()
        let page = DigestPage(of: hashes[...], prefix: .whole, version: 1, shape: shape)
        let hits = (0..<400_000).count { _ in page.mayContain(random.next()) }
        #expect(Double(hits) <= 1.1 * 0.1 / 64 * 400_000, "\(hits)")
        #expect(hashes.allSatisfy(page.mayContain))
    }

    @Test func `pages cover the hash space and each fits a user record`() throws {
        let owner = try digest(keys: 0..<6_000)
        let pages = owner.pages()
        #expect(pages.count > 11 && pages.count < 24)
        for page in pages {
            var writer = ByteWriter()
            page.encode(into: &writer)
            #expect(writer.bytes.count <= DigestPage.encodedBytesMax)
        }
    }

    @Test func `adds and removes arrive by deltas`() throws {
        var owner = try digest(keys: 0..<1_000)
        var view = try digests()
        try repair(&view, from: owner, nothing)
        for number in 1_000..<1_500 { owner.add(key(number)) }
        for number in 0..<300 { owner.remove(key(number)) }
        let deltas = owner.flush()
        #expect(deltas.count == 5)
        for delta in deltas {
            let bytes = DigestMessage.delta(delta).encoded()
            #expect(bytes.count <= 1_000)
            guard case .delta(let read) = try DigestMessage(decoding: bytes) else {
                Issue.record("no delta")
                return
            }
            let outcome = view.apply(read, from: peer)
            #expect(outcome == .applied)
        }
        #expect((300..<1_500).allSatisfy { view.mayHold(peer, key($0)) })
        #expect(!(0..<300).contains { view.mayHold(peer, key($0)) })
        #expect(owner.flush().isEmpty)
        #expect(view.position(of: peer) == DigestRequest(epoch: 1, sequence: 5))
    }

    @Test func `a gap is noticed, repaired by deltas, and what waited is applied`() throws {
        var owner = try digest(keys: 0..<10)
        var view = try digests()
        try repair(&view, from: owner, nothing)
        var deltas: [MapDelta] = []
        for number in 10..<14 {
            owner.add(key(number))
            deltas += owner.flush()
        }
        let first = view.apply(deltas[2], from: peer)
        #expect(first == .incomplete(DigestRequest(epoch: 1, sequence: 0)))
        #expect(!view.mayHold(peer, key(12)))
        let late = view.apply(deltas[0], from: peer)
        #expect(late == .incomplete(DigestRequest(epoch: 1, sequence: 1)))
        let closed = view.apply(deltas[1], from: peer)
        #expect(closed == .applied)
        #expect(view.mayHold(peer, key(12)))
        let lost = view.observe(peer, epoch: 1, sequence: 4)
        #expect(lost == .incomplete(DigestRequest(epoch: 1, sequence: 3)))
        try repair(&view, from: owner, DigestRequest(epoch: 1, sequence: 3))
        #expect(view.mayHold(peer, key(13)))
        let known = view.observe(peer, epoch: 1, sequence: 4)
        #expect(known == .applied)
        let again = view.apply(deltas[0], from: peer)
        #expect(again == .ignored)
    }

    @Test func `a gap beyond the log is repaired by the pages that changed`() throws {
        var owner = try digest(keys: 0..<4_000)
        var view = try digests()
        try repair(&view, from: owner, nothing)
        for number in 4_000..<4_000 + CacheMapDigest.logMax + 50 {
            owner.add(key(number))
            owner.remove(key(number - 4_000))
            _ = owner.flush()
        }
        let request = try #require(view.position(of: peer))
        #expect(owner.answer(request).allSatisfy { !$0.isWhole && $0.deltas.isEmpty })
        try repair(&view, from: owner, request)
        #expect(
            (CacheMapDigest.logMax + 50..<4_000 + CacheMapDigest.logMax + 50).allSatisfy { view.mayHold(peer, key($0)) }
        )
        #expect((0..<CacheMapDigest.logMax).count { view.mayHold(peer, key($0)) } < 10)
    }

    @Test func `a digest that grows splits its pages and stays whole for its readers`() throws {
        var owner = try digest(keys: 0..<0)
        var view = try digests()
        try repair(&view, from: owner, nothing)
        for number in 0..<3_000 {
            owner.add(key(number))
            if number % 500 == 499 {
                for delta in owner.flush() { _ = view.apply(delta, from: peer) }
            }
        }
        var fresh = try digests()
        try repair(&fresh, from: owner, nothing)
        #expect(owner.pages().count > 4)
        #expect((0..<3_000).allSatisfy { view.mayHold(peer, key($0)) && fresh.mayHold(peer, key($0)) })
        #expect(owner.count == 3_000)
    }

    @Test func `pages that leave between an add and its removal are corrected`() throws {
        var owner = try digest(keys: 0..<10)
        var view = try digests()
        owner.add(key(50))
        owner.remove(key(3))
        try repair(&view, from: owner, nothing)
        owner.remove(key(50))
        owner.add(key(3))
        for delta in owner.flush() { _ = view.apply(delta, from: peer) }
        #expect(!view.mayHold(peer, key(50)))
        #expect(view.mayHold(peer, key(3)))
    }

    @Test func `a new epoch makes the old one useless`() throws {
        var owner = try digest(keys: 0..<1_000)
        var view = try digests()
        try repair(&view, from: owner, nothing)
        for number in 0..<900 { owner.remove(key(number)) }
        #expect(owner.flush().isEmpty)
        #expect(owner.epoch == 2)
        owner.add(key(5_000))
        let delta = try #require(owner.flush().first)
        let outcome = view.apply(delta, from: peer)
        #expect(outcome == .incomplete(nothing))
        #expect(view.holders(of: key(950)).isEmpty)
        #expect(view.position(of: peer) == nil)
        try repair(&view, from: owner, nothing)
        #expect(view.holders(of: key(950)) == [peer] && view.holders(of: key(5_000)) == [peer])
        #expect(view.holders(of: key(5)).isEmpty)
    }

    @Test func `a cluster that doubles gets a finer digest`() throws {
        var owner = try digest(keys: 0..<1_000, clusterSize: 8)
        owner.setClusterSize(9)
        #expect(owner.epoch == 1)
        let coarse = owner.pages().map(\.filter.count).reduce(0, +)
        owner.setClusterSize(64)
        #expect(owner.epoch == 2)
        #expect(owner.pages().map(\.filter.count).reduce(0, +) > coarse)
    }

    @Test func `holders are the live peers, sorted`() throws {
        let owner = try digest(keys: 0..<5)
        var view = try digests()
        for id in [9, 3, 5] as [UInt64] {
            for answer in owner.answer(nothing) { _ = view.apply(answer, from: PeerID(rawValue: id)) }
        }
        #expect(view.holders(of: key(1)).map(\.rawValue) == [3, 5, 9])
        view.setLive(PeerID(rawValue: 5), false)
        #expect(view.holders(of: key(1)).map(\.rawValue) == [3, 9])
        view.setLive(PeerID(rawValue: 5), true)
        view.forget(PeerID(rawValue: 3))
        #expect(view.holders(of: key(1)).map(\.rawValue) == [5, 9])
    }

    @Test func `pages that do not cover everything are refused`() throws {
        let owner = try digest(keys: 0..<3_000)
        let whole = try #require(owner.answer(nothing).first)
        var view = try digests()
        for pages in [Array(whole.pages.dropFirst()), whole.pages + [whole.pages[0]], []] {
            let forged = DigestPages(
                epoch: 1, sequence: 0, isWhole: true, isFirst: true, isLast: true, pages: pages, deltas: [])
            let outcome = view.apply(forged, from: peer)
            #expect(outcome == .incomplete(nothing))
            #expect(view.holders(of: key(1)).isEmpty)
        }
    }
}

struct DigestCodecTests {
    private func messages() throws -> [[UInt8]] {
        var owner = try digest(keys: 0..<700)
        let pages = owner.answer(nothing).map { DigestMessage.pages($0).encoded() }
        owner.add(key(900))
        owner.remove(key(5))
        let deltas = owner.flush().map { DigestMessage.delta($0).encoded() }
        let repair = owner.answer(DigestRequest(epoch: 1, sequence: 0)).map { DigestMessage.pages($0).encoded() }
        return pages + deltas + repair + [DigestMessage.request(DigestRequest(epoch: 5, sequence: 6)).encoded()]
    }

    @Test func `messages survive their encoding and no truncation is read`() throws {
        for bytes in try messages() {
            #expect(try DigestMessage(decoding: bytes).encoded() == bytes)
            for count in 0..<bytes.count {
                #expect(throws: CodecError.self) { try DigestMessage(decoding: [UInt8](bytes.prefix(count))) }
            }
            #expect(throws: CodecError.trailingBytes) { try DigestMessage(decoding: bytes + [0]) }
        }
    }

    @Test func `flipped bits never trap, neither in the codec nor in the view`() throws {
        for bytes in try messages() {
            for bit in stride(from: 0, to: bytes.count * 8, by: bytes.count > 200 ? 7 : 1) {
                var broken = bytes
                broken[bit / 8] ^= 1 << UInt8(bit % 8)
                var view = try digests()
                switch try? DigestMessage(decoding: broken) {
                case .pages(let answer): _ = view.apply(answer, from: peer)
                case .delta(let delta): _ = view.apply(delta, from: peer)
                case .request, nil: continue
                }
                _ = view.holders(of: key(1))
            }
        }
    }

    @Test func `questions about exact keys survive their encoding and fit a datagram`() throws {
        let request = HaveRequest(number: 9, keys: (0..<HaveRequest.keysPerDatagramMax).map(key))
        let bytes = request.encoded()
        #expect(bytes.count <= 1_136)
        #expect(try HaveRequest(decoding: bytes) == request)
        let answer = HaveAnswer(
            number: 9, sizes: [nil, 4, nil, 0, .max, nil, nil, 1, 2], leaseMilliseconds: 30_000, running: 1, queued: 2)
        let answered = answer.encoded()
        #expect(try HaveAnswer(decoding: answered) == answer)
        for count in 0..<bytes.count {
            #expect(throws: CodecError.self) { try HaveRequest(decoding: [UInt8](bytes.prefix(count))) }
        }
        for count in 0..<answered.count {
            #expect(throws: CodecError.self) { try HaveAnswer(decoding: [UInt8](answered.prefix(count))) }
        }
        for bit in 0..<answered.count * 8 {
            var broken = answered
            broken[bit / 8] ^= 1 << UInt8(bit % 8)
            _ = try? HaveAnswer(decoding: broken)
        }
    }
}
