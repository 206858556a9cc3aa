import ClusterModel
import Testing

@testable import CacheMap

struct PageTests {
    private func hashes(_ count: Int, seed: UInt64) -> [UInt64] {
        var random = SplitMix64(seed: seed)
        return (0..<count).map { _ in random.next() }.sorted()
    }

    @Test func `SipHash agrees with the paper`() throws {
        // Appendix A: key 00…0f, message 00…0e.
        #expect(try hashKey().hash((0..<15).map(UInt8.init)) == 0xA129_CA61_49BE_45E5)
        #expect(MapHashKey(bytes: [1, 2]) == nil)
    }

    @Test(arguments: [0.001, 0.5, 1, 1.5, 2, 3, 1_000, 1e9])
    func `logarithms and exponentials are inverse to twelve digits`(x: Double) {
        #expect(abs(Logarithms.exponential(-abs(Logarithms.natural(x))) - min(x, 1 / x)) < 1e-12 * min(x, 1 / x))
        #expect(abs(Logarithms.binary(8) - 3) < 1e-12)
    }

    @Test(arguments: UInt64(0)..<32) func `bits come back as they went in`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var writer = BitWriter()
        var written: [(value: UInt32, width: Int)] = []
        for _ in 0..<200 {
            let width = Int(random.next() % 32) + 1
            let value = UInt32(truncatingIfNeeded: random.next() >> UInt64(64 - width))
            written.append((value, width))
            writer.append(value, width: width)
            writer.appendUnary(Int(value % 50))
        }
        var reader = BitReader(writer.finished())
        for (value, width) in written {
            #expect(reader.read(width: width) == value)
            #expect(reader.readUnary() == Int(value % 50))
        }
        #expect(reader.isAtEnd)
        #expect(reader.read(width: 32) == nil)
    }

    @Test(arguments: DigestPage.Encoding.allCases, [(10, 1), (100, 900), (1_000, 600), (640, 1), (5_120, 30)])
    func `a page has every key, keeps its rate and comes back from its bytes`(
        encoding: DigestPage.Encoding, shape: (oneIn: Int, count: Int)
    ) throws {
        let rate = FalseHitRate(oneIn: shape.oneIn)
        let inside = hashes(shape.count, seed: 3)
        let page = DigestPage(of: inside[...], prefix: .whole, version: 7, rate: rate, encoding: encoding)
        let read = try DigestPage(decoding: page.encoded())
        #expect(read == page)
        #expect(inside.allSatisfy(read.mayContain))
        let table = try #require(PageTable([read]))
        #expect(inside.allSatisfy(table.mayContain))
        var random = SplitMix64(seed: 99)
        let questions = 200_000
        var hits = 0
        for _ in 0..<questions {
            let hash = random.next()
            let isHit = read.mayContain(hash)
            #expect(isHit == table.mayContain(hash))
            hits += isHit ? 1 : 0
        }
        #expect(Double(hits) <= falseHitsMax(rate.rate, questions), "\(hits) of \(questions)")
    }

    @Test(arguments: [(100, 9.0), (1_000, 12.5)])
    func `a full page takes at most the promised bits per key with its frame`(oneIn: Int, bitsMax: Double) {
        let rate = FalseHitRate(oneIn: oneIn)
        for bytes in [420, 1_000, 1_300] {
            let count = DigestPage.capacity(bytes: bytes, rate: rate, encoding: .smaller)
            for share in [30, 70, 100] {
                let inside = hashes(count * share / 100, seed: UInt64(share))
                let page = DigestPage(of: inside[...], prefix: .whole, version: 1, rate: rate, encoding: .smaller)
                let size = page.encoded().count
                #expect(Double(size * 8) / Double(inside.count) <= bitsMax, "\(bytes) B, \(share) % full")
                #expect(size <= bytes + bytes / 50)
            }
        }
    }

    @Test func `the smaller encoding is chosen`() {
        let inside = hashes(500, seed: 5)
        for oneIn in [2, 4, 10, 100, 1_000] {
            let rate = FalseHitRate(oneIn: oneIn)
            let sizes = DigestPage.Encoding.allCases.map { encoding in
                DigestPage(of: inside[...], prefix: .whole, version: 1, rate: rate, encoding: encoding).encoded().count
            }
            #expect(sizes[0] <= min(sizes[1], sizes[2]) + 12, "\(oneIn): \(sizes)")
        }
    }

    @Test func `every truncation and appendix of a page is refused, and a flipped bit never traps`() throws {
        for encoding in [DigestPage.Encoding.bloom, .rice] {
            let inside = hashes(60, seed: 1)
            let half = DigestPrefix.whole.halves.1.halves.0
            let page = DigestPage(
                of: inside.filter(half.contains)[...], prefix: half, version: 300, rate: FalseHitRate(oneIn: 100),
                encoding: encoding)
            let bytes = page.encoded()
            for count in 0..<bytes.count {
                #expect(throws: CodecError.self) { try DigestPage(decoding: Array(bytes.prefix(count))) }
            }
            #expect(throws: CodecError.trailingBytes) { try DigestPage(decoding: bytes + [0]) }
            for bit in 0..<bytes.count * 8 {
                var broken = bytes
                broken[bit / 8] ^= 1 << UInt8(bit % 8)
                guard let read = try? DigestPage(decoding: broken) else { continue }
                _ = inside.count(where: read.mayContain)
                // What is accepted has one form only.
                #expect(read.encoded() == broken)
            }
        }
    }

    @Test func `a page that claims four gigabytes is an error before any memory is taken`() {
        let length: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F]
        #expect(throws: CodecError.self) { try DigestPage(decoding: [0, 1, 1, 4] + length) }
        #expect(throws: CodecError.self) { try DigestPage(decoding: [0, 1, 2] + length + length + [3] + length) }
        #expect(throws: CodecError.self) { try DigestMessage(decoding: [5] + length) }
        // A long run of ones is a gap beyond the range, not a loop.
        let run = [UInt8](repeating: 0xFF, count: 1_300)
        #expect(throws: CodecError.self) {
            try DigestPage(decoding: [0, 1, 2, 2, 0xFF, 0xFF, 3, 31, 0x94, 0x0A] + run)
        }
    }

    @Test func `the rate follows the cluster and does not flap`() {
        var rate = FalseHitRate(clusterSize: 1)
        #expect(rate.oneIn == 160)
        for size in [16, 17, 64, 65, 17, 33, 128] {
            rate = rate.following(clusterSize: size)
            #expect(rate.rate <= 0.1 / Double(size))
        }
        let made = rate
        for size in [128, 100, 33, 128, 33] {
            rate = rate.following(clusterSize: size)
            #expect(rate == made)
        }
        #expect(rate.following(clusterSize: 32).oneIn == 320)
    }
}
