internal import OCI
internal import Testing
internal import Transfer

@Suite struct PullTests {
    private func manifest() throws -> LayerManifest {
        try LayerManifest(entries: [
            LayerEntry(path: [97], mode: 0o644, kind: .file(size: 3, content: Digest.of([1, 2, 3]))),
            LayerEntry(path: [98], mode: 0o644, kind: .file(size: 6, content: Digest.of([0, 0, 0, 9, 0, 0]))),
            LayerEntry(path: [99], mode: 0o644, kind: .fifo),
        ])
    }

    private func started(_ manifest: LayerManifest) throws -> LayerPull {
        var pull = LayerPull(manifest.id)
        let encoded = manifest.encoded()
        #expect(try pull.receive(.head(total: Int64(encoded.count), Array(encoded[..<10]))).isEmpty)
        #expect(try pull.receive(.part(Array(encoded[10...]))) == [.manifest(manifest)])
        #expect(pull.want([0, 1]) == [.want([0..<2], isLast: true)])
        return pull
    }

    @Test func `a pull in order gives writes, then the end`() throws {
        var pull = try started(manifest())
        let first = TransferMessage.Piece(entry: 0, offset: 0, bytes: [1, 2, 3])
        let second = TransferMessage.Piece(entry: 1, offset: 3, bytes: [9])
        let hole = TransferMessage.Piece(entry: 1, offset: 6, bytes: [])
        #expect(
            try pull.receive(.content([first, second])) == [
                .write(entry: 0, offset: 0, bytes: [1, 2, 3]), .complete(entry: 0),
                .write(entry: 1, offset: 3, bytes: [9]),
            ])
        #expect(throws: TransferError.endedEarly) { try pull.receive(.end) }
        pull = try started(manifest())
        _ = try pull.receive(.content([first, second]))
        #expect(try pull.receive(.content([hole])) == [.write(entry: 1, offset: 6, bytes: []), .complete(entry: 1)])
        #expect(try pull.receive(.end) == [.finished])
        #expect(throws: TransferError.self) { try pull.receive(.end) }
    }

    @Test func `what a holder must not send is refused`() throws {
        let manifest = try manifest()
        let bad: [TransferMessage] = [
            .content([.init(entry: 1, offset: 0, bytes: [1])]), .content([.init(entry: 2, offset: 0, bytes: [1])]),
            .content([.init(entry: 9, offset: 0, bytes: [1])]),
            .content([.init(entry: 0, offset: 0, bytes: [1, 2, 3, 4])]),
            .content([.init(entry: 0, offset: 4, bytes: [])]),
            .content([.init(entry: 0, offset: 0, bytes: [3, 2, 1])]),
            .content([.init(entry: 0, offset: 0, bytes: [])]), .content([]),
            .content([.init(entry: 0, offset: 1, bytes: [1]), .init(entry: 0, offset: 0, bytes: [1])]), .end,
            .part([1]),
            .head(total: 1, [1]), .want([], isLast: true), .failure("no"),
        ]
        for message in bad {
            #expect(throws: TransferError.self, "\(message)") {
                var pull = try started(manifest)
                _ = try pull.receive(message)
            }
        }
        #expect(throws: TransferError.wrongManifest(expected: Digest.of([5]), actual: manifest.id)) {
            var pull = LayerPull(Digest.of([5]))
            _ = try pull.receive(.head(total: Int64(manifest.encoded().count), manifest.encoded()))
        }
        for head in [TransferMessage.head(total: 1 << 40, []), .head(total: 2, [1, 2, 3]), .head(total: 5, [])] {
            #expect(throws: TransferError.self) {
                var pull = LayerPull(manifest.id)
                _ = try pull.receive(head)
            }
        }
    }

    @Test func `a holder refuses want lists that make no sense`() throws {
        let manifest = try manifest()
        var serve = LayerServe(manifest)
        #expect(try serve.receive(.want([0..<1], isLast: false)) == nil)
        #expect(try serve.receive(.want([1..<2], isLast: true)) == [0, 1])
        for ranges in [[0..<3], [1..<2, 0..<1], [0..<1, 0..<1], [0..<0], [0..<1_000_000_000]] {
            #expect(throws: TransferError.self) {
                var serve = LayerServe(manifest)
                _ = try serve.receive(.want(ranges, isLast: true))
            }
        }
    }

    @Test func `messages survive their encoding, and cuts of them never crash`() throws {
        let messages: [TransferMessage] = [
            .head(total: 300, [1, 2]), .part([]), .want([0..<4, 70_000..<70_001], isLast: false), .end, .failure("why"),
            .content([.init(entry: 3, offset: 1 << 40, bytes: [1, 2]), .init(entry: 4, offset: 0, bytes: [])]),
        ]
        for message in messages {
            let encoded = message.encoded()
            #expect(try TransferMessage(decoding: encoded) == message)
            for length in 0..<encoded.count { _ = try? TransferMessage(decoding: Array(encoded[..<length])) }
        }
        #expect(throws: TransferError.self) { try TransferMessage(decoding: []) }
        #expect(throws: TransferError.self) { try TransferMessage(decoding: [99]) }
    }
}
