internal import ClusterModel
internal import Snapshots
internal import Transfer

/// What comes of the messages of a transfer, and layer archives.
extension Registry {
    /// Chunks of which a puller has an old version, and what it asks for.
    private struct Outlined {
        let lengths: [Int]
        let known: KnownPieces
        /// A holder's answers: the outline, and the pieces that the old version has not.
        let answers: [[UInt8]]

        init() throws {
            let chunks = [Registry.noise(3_000, seed: 1), Registry.noise(800, seed: 2)]
            var known = KnownPieces()
            let old = Array(chunks[0][..<1_200]) + Registry.noise(300, seed: 3) + Array(chunks[0][1_600...])
            old.withUnsafeBytes { known.add($0) }
            let pieces = chunks.flatMap { chunk in chunk.withUnsafeBytes { ChunkOutline.pieces(of: $0) } }
            lengths = chunks.map(\.count)
            self.known = known
            let wanted = Set(try ChunkMerge(pieces, chunkLengths: lengths, known: known).wanted.joined())
            var rest = chunks.flatMap { $0 }[...]
            var new: [UInt8] = []
            for (index, piece) in pieces.enumerated() {
                if wanted.contains(index) { new += rest.prefix(piece.length) }
                rest = rest.dropFirst(piece.length)
            }
            let messages: [TransferMessage] = [.outline(request: 1, pieces), .part(new[...])]
            answers = messages.map { $0.encoded() }
        }
    }

    private static func noise(_ count: Int, seed: UInt64) -> [UInt8] {
        var random = SplitMix64(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    /// Packs of one holder, put together and decompressed: each has as many bytes as were asked for.
    static func packs() throws -> FuzzTarget {
        let text = [UInt8](repeating: 65, count: 600)
        let frame = try SnapshotDecoding.frame(of: text)
        let sizes = [0: 4, 1: text.count]
        let plain =
            pack(0, .plain, of: 4, [1, 2, 3, 4], first: 1) + pack(0, .plain, of: 4, [1, 2, 3, 4], first: 4)
        let packed = pack(1, .zstd, of: text.count, frame, first: frame.count / 2)
        let corpus: [[[UInt8]]] = [plain, packed + plain, packed]
        return FuzzTarget(name: "packs", corpus: corpus.map { MessageSequence.joined($0) }) { bytes in
            var assembler = PackAssembler()
            var isAnyWhole = false
            for bytes in MessageSequence.split(bytes) {
                do {
                    let message = try TransferMessage(decoding: bytes)
                    guard let pack = try assembler.receive(message, expected: { sizes[$0] }) else { continue }
                    isAnyWhole = true
                    let plain = try SnapshotDecoding.plainBytes(of: pack)
                    guard plain.count == sizes[pack.request] else {
                        return .failed("pack \(pack.request) has \(plain.count) bytes")
                    }
                } catch {
                    return .refused
                }
            }
            return isAnyWhole ? .decoded : .refused
        }
    }

    private static func pack(
        _ request: Int, _ coding: TransferMessage.Coding, of plainBytes: Int, _ bytes: [UInt8], first: Int
    ) -> [[UInt8]] {
        var messages: [TransferMessage] = [
            .pack(
                .init(
                    request: request, coding: coding, plainBytes: plainBytes, encodedBytes: bytes.count,
                    bytes: bytes[..<first]))
        ]
        if first < bytes.count { messages.append(.part(bytes[first...])) }
        return messages.map { $0.encoded() }
    }

    /// Chunks put together of a holder's outline, old pieces and new ones: none is longer than it should be, and none
    /// shorter when all pieces have come.
    static func outlineMerge() throws -> FuzzTarget {
        let outlined = try Outlined()
        let lengths = outlined.lengths
        return FuzzTarget(name: "outline merge", corpus: [MessageSequence.joined(outlined.answers)]) { bytes in
            let messages = MessageSequence.split(bytes).compactMap { try? TransferMessage(decoding: $0) }
            guard messages.count >= 2, case .outline(_, let pieces) = messages[0], case .part(let new) = messages[1],
                let merge = try? ChunkMerge(pieces, chunkLengths: lengths, known: outlined.known)
            else { return .refused }
            let merged = merge.chunks(with: new).map(\.count)
            guard merged.count == lengths.count, zip(merged, lengths).allSatisfy({ $0 <= $1 }) else {
                return .failed("chunks of \(merged) bytes instead of \(lengths)")
            }
            guard new.count < merge.wantedBytes || merged == lengths else {
                return .failed("all pieces have come and the chunks have \(merged) bytes instead of \(lengths)")
            }
            return .decoded
        }
    }

    /// Layer archives, from their compression to the layer that they make: its manifest can be sent and read.
    static func archives() throws -> FuzzTarget {
        FuzzTarget(name: "layer archive", corpus: try SnapshotDecoding.archives()) { bytes in
            var mended = bytes
            SnapshotDecoding.mendChecksums(&mended)
            guard let layer = try? SnapshotDecoding.layer(ofArchive: mended) else { return .refused }
            guard let again = try? LayerManifest(decoding: layer.encoded()) else {
                return .failed("the layer's own encoding is refused")
            }
            return again == layer ? .decoded : .failed("encoded and decoded the layer is another one")
        }
    }
}
