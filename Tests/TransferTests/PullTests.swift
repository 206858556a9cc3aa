internal import ClusterModel
internal import OCI
internal import Testing
internal import Transfer

@Suite struct PullTests {
    private func manifest() throws -> LayerManifest {
        func file(_ name: UInt8, _ content: [UInt8]) -> LayerEntry {
            let whole = ChunkedContent(whole: Digest.of(content))
            return LayerEntry(path: [name], mode: 0o644, kind: .file(size: Int64(content.count), content: whole))
        }
        return try LayerManifest(entries: [
            file(97, [1, 2, 3]), file(98, [9]), file(99, [1, 2, 3]), file(100, [4, 4]),
        ])
    }

    @Test func `a layer's chunks are counted once and in its order`() throws {
        let table = try ChunkTable(manifest())
        #expect(table.chunks.map(\.length) == [3, 1, 2])
        #expect(table.places(of: 0).map(\.entry) == [0, 2])
        #expect(table.bytes == 6)
    }

    @Test func `chunks of one digest and several lengths are told apart, in a part of the layer too`() throws {
        func file(_ path: String, _ size: Int64) -> LayerEntry {
            let content = ChunkedContent(whole: Digest.of([1]))
            return LayerEntry(path: Array(path.utf8), mode: 0o644, kind: .file(size: size, content: content))
        }
        let directory = LayerEntry(path: Array("d".utf8), mode: 0o755, kind: .directory(isOpaque: false))
        let whole = try LayerManifest(
            entries: [directory, file("d/a", 10), file("d/b", 20), file("d/c", 10), file("e", 30)])
        let table = ChunkTable(whole)
        #expect(table.chunks.map(\.length) == [10, 20, 30])
        #expect(table.places(of: 0).map(\.entry) == [1, 3])
        #expect(table.bytes == 60)

        let footprint = try #require(try TreeFootprint(of: [ContentSelector(path: "/d")], in: [whole]))
        let part = try LayerPart(of: whole, footprint)
        let wanted = part.ordinalsOfWhole(Array(ChunkTable(part.manifest).chunks.indices))
        #expect(wanted == [0, 1])
        let plan = PullPlan(missing: wanted, holders: 1) { part.wholeTable.chunks[$0].length }
        for request in plan.requests {
            let want = TransferMessage.want(request: request.number, request.ranges)
            #expect(try TransferMessage(decoding: want.encoded()) == want)
        }
    }

    @Test func `a manifest comes in packs and is checked against its name`() throws {
        let manifest = try manifest()
        let encoded = manifest.encoded()
        var pull = ManifestPull(manifest.id)
        try pull.begin(total: Int64(encoded.count))
        #expect(pull.expected(0) == encoded.count && pull.expected(1) == nil)
        #expect(try pull.receive(encoded) == manifest)
        for total in [0, -1, 10 << 30, Int64.max] {
            #expect(throws: TransferError.self) {
                var pull = ManifestPull(manifest.id)
                try pull.begin(total: total)
            }
        }
        #expect(throws: TransferError.wrongManifest(expected: Digest.of([5]), actual: manifest.id)) {
            var pull = ManifestPull(Digest.of([5]))
            try pull.begin(total: Int64(encoded.count))
            _ = try pull.receive(encoded)
        }
    }

    @Test func `a pack is as long as what was asked for, whatever the holder says`() throws {
        func pack(
            _ plain: Int, _ encoded: Int, _ bytes: Int, _ coding: TransferMessage.Coding = .plain
        ) -> TransferMessage {
            .pack(
                .init(
                    request: 0, coding: coding, plainBytes: plain, encodedBytes: encoded,
                    bytes: [UInt8](repeating: 1, count: bytes)[...]))
        }
        func assemble(_ messages: [TransferMessage]) throws -> [UInt8]? {
            var assembler = PackAssembler()
            var result: [UInt8]?
            for message in messages {
                if let pack = try assembler.receive(message, expected: { $0 == 0 ? 4 : nil }) {
                    result = Array(pack.bytes)
                }
            }
            return result
        }
        #expect(try assemble([pack(4, 4, 1), .part([2, 3]), .part([4])]) == [1, 2, 3, 4])
        #expect(try assemble([pack(4, 2, 2, .zstd)]) == [1, 1])
        for bad in [
            [pack(5, 5, 5)], [pack(3, 3, 3)], [pack(5, 2, 2, .zstd)], [pack(3, 2, 2, .zstd)], [pack(4, 3, 3)],
            [pack(4, 5, 4, .zstd)], [pack(4, 4, 5)], [.part([1])],
            [pack(4, 4, 2), pack(4, 4, 4)], [pack(4, 4, 2), .part([])], [pack(4, 4, 2), .part([1, 2, 3])],
            [.pack(.init(request: 7, coding: .plain, plainBytes: 4, encodedBytes: 4, bytes: [1, 2, 3, 4]))],
            [.failure("no")], [.askManifest],
        ] {
            #expect(throws: TransferError.self, "\(bad)") { try assemble(bad) }
        }
    }

    @Test func `a holder refuses want lists that make no sense`() throws {
        let served = try ServedChunks(manifest())
        #expect(try served.wanted([0..<1, 2..<3]).map(\.length) == [3, 2])
        for ranges in [[], [0..<4], [1..<2, 0..<1], [0..<2, 1..<3], [0..<0], [0..<1_000_000_000]] {
            #expect(throws: TransferError.self) { try served.wanted(ranges) }
        }
        // A pack is the most that is sent for one request.
        let chunk = Int64(FastCDC.chunkBytesMax)
        let pieces = (0..<17).map { ChunkedContent.Piece(digest: Digest.of([UInt8($0)]), length: chunk) }
        let large = LayerEntry(
            path: [97], mode: 0o644, kind: .file(size: 17 * chunk, content: ChunkedContent(pieces: pieces)))
        let many = ServedChunks(try LayerManifest(entries: [large]))
        #expect(try many.wanted([0..<16]).count == 16)
        #expect(throws: TransferError.self) { try many.wanted([0..<17]) }
    }

    @Test func `messages survive their encoding, and cuts and flipped bits of them never crash`() throws {
        let pack = TransferMessage.Pack(request: 3, coding: .zstd, plainBytes: 900, encodedBytes: 500, bytes: [1, 2])
        let messages: [TransferMessage] = [
            .head(total: 300, [1, 2]), .part([]), .askManifest, .manifest(total: 1 << 40), .failure("why"),
            .want(request: 70_000, [0..<4, 70_000..<70_001]), .pack(pack), .askOutline(request: 1, [2..<3]),
            .outline(request: 5, [.init(length: 4_096, key: 1), .init(length: 1, key: .max)]),
            .wantPieces(request: 6, [0..<1, 2..<9], pieces: [3..<5]), .waiting,
        ]
        for message in messages {
            let encoded = message.encoded()
            #expect(try TransferMessage(decoding: encoded) == message)
            for length in 0..<encoded.count { _ = try? TransferMessage(decoding: Array(encoded[..<length])) }
            for bit in 0..<encoded.count * 8 {
                var damaged = encoded
                damaged[bit / 8] ^= 1 << UInt8(bit % 8)
                _ = try? TransferMessage(decoding: damaged)
            }
        }
        #expect(throws: TransferError.self) { try TransferMessage(decoding: []) }
        #expect(throws: TransferError.self) { try TransferMessage(decoding: [99]) }
    }

    @Test func `compression stops on a fast link and pauses on what does not shrink`() {
        var choice = CompressionChoice()
        func tries(_ count: Int) -> [Bool] { (0..<count).map { _ in choice.nextLevel() != nil } }
        #expect(tries(1) == [true])
        let shrank = [choice.compressed(from: 100, to: 40), choice.compressed(from: 100, to: 95)]
        #expect(shrank == [true, false])
        #expect(tries(9) == [Bool](repeating: false, count: 8) + [true])
        choice.sent(8 << 20, seconds: 0.01)
        #expect(tries(1) == [false])
        for _ in 0..<20 { choice.sent(8 << 20, seconds: 1) }
        #expect(tries(1) == [true])
    }

    @Test func `a burst does not make a shaped link fast, and a slow sample not a fast one slow`() {
        var shaped = CompressionChoice()
        for _ in 0..<5 { shaped.measured(linkRate: 120e6) }
        #expect(shaped.nextLevel() == -3)
        for _ in 0..<2 { shaped.measured(linkRate: 2e9) }
        for _ in 0..<10 { shaped.measured(linkRate: 2e9, isLowerBound: true) }
        #expect(shaped.nextLevel() == -3)
        var fast = CompressionChoice()
        for _ in 0..<5 { fast.measured(linkRate: 2e9, isLowerBound: true) }
        for _ in 0..<2 { fast.measured(linkRate: 5e6) }
        for _ in 0..<9 { fast.measured(linkRate: 1e6, isLowerBound: true) }
        #expect(fast.nextLevel() == nil)
        // A link that became fast is found out even if it never has enough to send.
        for _ in 0..<30 { shaped.measured(linkRate: 2e9, isLowerBound: true) }
        #expect(shaped.nextLevel() == nil)
        // The slower the link, the more effort.
        let levels = [5e6, 40e6, 120e6, 200e6].map { rate in
            var choice = CompressionChoice()
            choice.measured(linkRate: rate)
            return choice.nextLevel()
        }
        #expect(levels == [3, 1, -3, -5])
    }
}
