import ClusterModel
import Testing

@testable import CacheMap

/// Codes, hashes and bounds to the bit: nodes of two releases have to agree on them.
struct CodingTests {
    @Test(
        arguments: [
            (0, 0x726F_DB47_DD0E_0E31), (7, 0xAB02_00F5_8B01_D137), (8, 0x93F5_F579_9A93_2462),
            (16, 0x3F2A_CC7F_57C2_9BDB), (32, 0x7127_512F_72F2_7CCE), (63, 0x958A_324C_EB06_4572),
        ] as [(Int, UInt64)]) func `SipHash agrees with its authors' vectors, whole words and parts`(
            length: Int, hash: UInt64
        ) throws
    {
        #expect(try hashKey().hash((0..<length).map(UInt8.init)) == hash)
        #expect(MapHashKey(bytes: [UInt8](repeating: 0, count: 17)) == nil)
    }

    @Test func `a Bloom page has k = log2(1/ε) functions and as many bits as keep the rate`() {
        for (oneIn, functions, bytes) in [(2, 1, 183), (160, 7, 1_335), (640, 9, 1_699), (655_360, 19, 3_520)] {
            let rate = FalseHitRate(oneIn: oneIn)
            #expect(BloomFilter.functions(for: rate) == functions)
            #expect(BloomFilter.byteCount(keys: 1_000, rate: rate) == bytes)
        }
        #expect(BloomFilter.byteCount(keys: 0, rate: FalseHitRate(oneIn: 640)) == 0)
    }

    @Test func `the Golomb-Rice parameter is the cheapest one for the mean gap`() {
        let best: [(Double, Int)] = [(1, 0), (2, 0), (10, 3), (640, 9), (1_280, 10), (1e6, 19), (4_294_967_294, 31)]
        for (mean, parameter) in best { #expect(RiceCoding.best(mean: mean).parameter == parameter, "\(mean)") }
    }

    @Test func `Golomb-Rice codes that fill their bytes to the last bit are read, and nothing behind them`() {
        // Eight gaps of zero: eight bits.
        #expect(RiceCoding.encode(0..<8, base: 0, parameter: 0) == [0])
        #expect(RiceCoding.decode([0], count: 8, base: 0, end: 8, parameter: 0) == Array(0..<8))
        #expect(RiceCoding.decode([0], count: 8, base: 0, end: 7, parameter: 0) == nil, "one is at the end")
        #expect(RiceCoding.decode([0], count: 9, base: 0, end: 99, parameter: 0) == nil)
        #expect(RiceCoding.decode([0, 0], count: 8, base: 0, end: 99, parameter: 0) == nil, "a byte too many")
        #expect(RiceCoding.decode([0], count: 7, base: 0, end: 99, parameter: 0) == Array(0..<7))
        #expect(RiceCoding.decode([1], count: 7, base: 0, end: 99, parameter: 0) == nil, "the filling is zero")
        let far: [UInt32] = [3, .max - 1]
        let codes = RiceCoding.encode(far, base: 0, parameter: 31)
        #expect(RiceCoding.decode(codes, count: 2, base: 0, end: 1 << 32, parameter: 31) == far)
        #expect(RiceCoding.decode([0, 0, 0, 0, 0], count: 1, base: 0, end: 99, parameter: 32) == nil)
    }

    @Test func `prefixes are as long as their bound and have no bits behind them`() throws {
        #expect(try DigestPage(decoding: [24, 1, 2, 3, 1, 0]).prefix.depth == 24)
        #expect(throws: CodecError.outOfRange(field: "page depth")) {
            try DigestPage(decoding: [25, 1, 2, 3, 0, 1, 0])
        }
        #expect(throws: CodecError.invalid(field: "page prefix")) { try DigestPage(decoding: [1, 0x40, 1, 0]) }
        let (low, high) = DigestPrefix.whole.halves
        let (lowLow, lowHigh) = low.halves
        #expect(low.overlaps(lowHigh) && lowHigh.overlaps(low) && !high.overlaps(lowHigh) && !lowLow.overlaps(lowHigh))
    }

    @Test func `a Bloom page of a peer has 1 to 24 functions and 1 to 1,400 bytes`() throws {
        func page(_ functions: UInt8, _ count: Int) throws -> DigestPage {
            var writer = ByteWriter()
            for byte in [0, 1, 1, functions] as [UInt8] { writer.append(byte) }
            writer.appendBlock([UInt8](repeating: 0xFF, count: count))
            return try DigestPage(decoding: writer.bytes)
        }
        #expect(try page(24, 1_400).mayContain(7))
        #expect(try page(1, 1).mayContain(7))
        for (functions, count) in [(0, 10), (25, 10), (9, 0), (9, 1_401)] as [(UInt8, Int)] {
            #expect(throws: CodecError.self, "\(functions), \(count)") { try page(functions, count) }
        }
    }

    @Test func `a Golomb-Rice page of a peer holds what 1,400 bytes can, in one form`() throws {
        func page(_ count: Int, range: Int, parameter: UInt8, _ codes: [UInt8]) throws -> DigestPage {
            var writer = ByteWriter()
            for byte in [0, 1, 2] as [UInt8] { writer.append(byte) }
            writer.appendVarint(count)
            writer.appendVarint(range)
            writer.append(parameter)
            writer.appendBlock(codes)
            return try DigestPage(decoding: writer.bytes)
        }
        let full = [UInt8](repeating: 0, count: 1_400)
        #expect(try page(11_200, range: 11_200, parameter: 0, full).encoded().count == 1_400 + 10)
        #expect(throws: CodecError.self) { try page(11_201, range: 11_201, parameter: 0, full + [0]) }
        // Eight more bits than fit, in one gap.
        #expect(throws: CodecError.self) { try page(11_200, range: 11_208, parameter: 0, [0xFF] + full) }
        #expect(throws: CodecError.self) { try page(0, range: 10, parameter: 0, []) }
        let codes = RiceCoding.encode([1, 3], base: 0, parameter: 2)
        #expect(throws: CodecError.invalid(field: "page parameter")) {
            try page(2, range: 4, parameter: 2, codes)
        }
    }

    @Test func `hashes at the very edges of pages are found in their own page`() throws {
        let edges: [UInt64] = [0, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, .max]
        for encoding in [DigestPage.Encoding.bloom, .rice] {
            let (low, high) = DigestPrefix.whole.halves
            let (lowLow, lowHigh) = low.halves
            let pages = [high, lowHigh, lowLow].map { prefix in
                DigestPage(
                    of: edges.filter(prefix.contains)[...], prefix: prefix, version: 1, rate: FalseHitRate(oneIn: 640),
                    encoding: encoding)
            }
            let table = try #require(PageTable(pages))
            for hash in edges { #expect(table.mayContain(hash), "\(hash)") }
            // One page again in the place of two, and two in the place of one.
            let merged = DigestPage(
                of: edges.filter(low.contains)[...], prefix: low, version: 2, rate: FalseHitRate(oneIn: 640),
                encoding: encoding)
            let replaced = try #require(table.replacing([merged]))
            #expect(replaced.pages.map(\.prefix) == [low, high])
            #expect(replaced.replacing([pages[2], pages[1]])?.pages == table.pages)
            #expect(table.replacing([pages[1]])?.pages == table.pages)
            #expect(PageTable([pages[2], pages[1]]) == nil, "the upper half is missing")
        }
    }

    @Test func `a position says who, which history, how far and what`() {
        let position = MapPosition(epoch: 3, sequence: 9, root: 77)
        let contribution = position.contribution(of: peer)
        let others = [
            MapPosition(epoch: 4, sequence: 9, root: 77), MapPosition(epoch: 3, sequence: 10, root: 77),
            MapPosition(epoch: 3, sequence: 9, root: 78),
        ]
        #expect(others.allSatisfy { $0.contribution(of: peer) != contribution })
        #expect(position.contribution(of: PeerID(rawValue: 8)) != contribution)
        #expect(MapPosition(epoch: 3, sequence: 0, root: 0).isUntouched)
        #expect(!MapPosition(epoch: 3, sequence: 1, root: 0).isUntouched)
        #expect(!MapPosition(epoch: 3, sequence: 0, root: 1).isUntouched)
        #expect(!position.isBehind(position))
        #expect(position.isBehind(others[1]) && position.isBehind(MapPosition(epoch: 4, sequence: 1, root: 0)))
        #expect(!MapPosition(epoch: 4, sequence: 1, root: 0).isBehind(position))
    }

    @Test func `the promised rate is 1 in ten times the next power of two, from 16 to 65,536 nodes`() {
        for (size, oneIn) in [
            (1, 160), (16, 160), (17, 320), (32, 320), (33, 640), (65_536, 655_360), (90_000, 655_360),
        ] {
            #expect(FalseHitRate(clusterSize: size).oneIn == oneIn, "\(size)")
        }
        #expect(FalseHitRate(oneIn: 1).oneIn == 2 && FalseHitRate(oneIn: 700_000).oneIn == 655_360)
        let made = FalseHitRate(clusterSize: 64)
        for (size, oneIn) in [(64, 640), (65, 1_280), (17, 640), (16, 160)] {
            #expect(made.following(clusterSize: size).oneIn == oneIn, "\(size)")
        }
        // The smallest rate is for 16 nodes and fits fewer as well.
        #expect(FalseHitRate(clusterSize: 16).following(clusterSize: 1).oneIn == 160)
    }

    @Test func `a saved position is of a real history and rate`() throws {
        func bytes(epoch: UInt32, oneIn: UInt64) -> [UInt8] {
            var writer = ByteWriter()
            writer.append(UInt8(1))
            MapPosition(epoch: epoch, sequence: 4, root: 9).encode(into: &writer)
            writer.append(oneIn)
            return writer.bytes
        }
        for (epoch, oneIn) in [(1, 2), (.max - 1, 655_360)] as [(UInt32, UInt64)] {
            let saved = try SavedPosition(decoding: bytes(epoch: epoch, oneIn: oneIn))
            #expect(saved.position.epoch == epoch && saved.rate.oneIn == Int(oneIn))
        }
        for (epoch, oneIn) in [(0, 160), (.max, 160), (1, 1), (1, 655_361)] as [(UInt32, UInt64)] {
            #expect(throws: CodecError.self, "\(epoch), \(oneIn)") {
                try SavedPosition(decoding: bytes(epoch: epoch, oneIn: oneIn))
            }
        }
        #expect(throws: CodecError.self) { try SavedPosition(decoding: [2] + bytes(epoch: 1, oneIn: 160).dropFirst()) }
    }
}
