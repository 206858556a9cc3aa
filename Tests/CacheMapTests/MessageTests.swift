import ClusterModel
import Testing

@testable import CacheMap

struct MessageTests {
    private func messages() throws -> [[UInt8]] {
        var owner = try digest(keys: 0..<700)
        var messages = owner.answer(.everything, at: start).map { DigestMessage.pages($0).encoded() }
        for number in 900..<930 { owner.add(entry(number)) }
        for number in 0..<9 { owner.remove(mapKey(number)) }
        messages += owner.flush(at: start).map { DigestMessage.delta($0).encoded() }
        messages += owner.answer(DigestRequest(epoch: 1, sequence: 0), at: start)
            .map { DigestMessage.pages($0).encoded() }
        let position = MapPosition(epoch: 3, sequence: 9, root: 77)
        let others: [DigestMessage] = [
            .request(DigestRequest(epoch: 5, sequence: 6)), .moved(position), .summaryRequest,
            .buckets((0..<UInt32(DigestMessage.bucketCount)).map { $0 &* 77_777 }),
            .summaries([MapSummary(owner: peer, position: position)]),
            .have(HaveRequest(number: 1, keys: [mapKey(1), mapKey(2)])),
            .haveAnswer(
                HaveAnswer(number: 1, sizes: [nil, 5], leaseMilliseconds: 30_000, running: 1, queued: 2)),
        ]
        return messages + others.map { $0.encoded() }
    }

    @Test func `messages survive their encoding and no truncation is read`() throws {
        for bytes in try messages() {
            #expect(try DigestMessage(decoding: bytes).encoded() == bytes)
            for count in 0..<bytes.count {
                #expect(throws: CodecError.self) { try DigestMessage(decoding: [UInt8](bytes.prefix(count))) }
            }
            #expect(throws: CodecError.self) { try DigestMessage(decoding: bytes + [0]) }
        }
    }

    @Test func `flipped bits never trap, neither in the codec nor in the replica`() throws {
        var owner = try digest(keys: 0..<700)
        var replica = PeerDigests(hashKey: try hashKey())
        try replica.repair(from: &owner, .everything)
        for bytes in try messages() {
            for bit in stride(from: 0, to: bytes.count * 8, by: bytes.count > 200 ? 7 : 1) {
                var broken = bytes
                broken[bit / 8] ^= 1 << UInt8(bit % 8)
                var view = replica
                switch try? DigestMessage(decoding: broken) {
                case .pages(let answer): _ = view.apply(answer, from: peer)
                case .delta(let delta): _ = view.apply(delta, from: peer)
                case .moved(let position): _ = view.observe(position, of: peer)
                default: continue
                }
                _ = view.holders(of: mapKey(1))
            }
        }
    }

    @Test func `a delta carries many hashes in a packet and comes back as it was`() throws {
        var owner = try digest(keys: 0..<20_000)
        for number in 0..<4_000 { owner.remove(mapKey(number)) }
        let deltas = owner.flush(at: start)
        let bytes = deltas.map { DigestMessage.delta($0).encoded() }
        #expect(bytes.allSatisfy { $0.count <= 1_000 })
        #expect(deltas.reduce(0) { $0 + $1.removes.count } == 4_000)
        // 2^32 / 4,000 is the mean gap: 20 bits and 1.5.
        #expect(Double(bytes.reduce(0) { $0 + $1.count } * 8) / 4_000 < 22.5)
        for (delta, bytes) in zip(deltas, bytes) {
            #expect(try DigestMessage(decoding: bytes) == .delta(delta))
        }
    }

    @Test func `questions about exact keys survive their encoding and fit a datagram`() throws {
        let request = HaveRequest(number: 9, keys: (0..<HaveRequest.keysPerDatagramMax).map(mapKey))
        let bytes = request.encoded()
        #expect(bytes.count <= 1_126)
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
