package import OCI

/// One pull of a layer: checks what a holder sends, in which order, and against the digests.
///
/// `expectingManifest` → (`.manifest`) → `want` → `expectingContent` → (`.finished`) → `done`. After an error the pull is
/// over.
package struct LayerPull: Sendable {
    package enum Effect: Sendable, Hashable {
        /// The manifest is there and is the one that was asked for. Answer with `want`.
        case manifest(LayerManifest)
        /// Bytes of a wanted file; what lies between two writes is zero.
        case write(entry: Int, offset: Int64, bytes: ArraySlice<UInt8>)
        /// All of a file has come and has its digest.
        case complete(entry: Int)
        case finished
    }

    private enum State: Sendable {
        case expectingManifest(total: Int?, [UInt8])
        case choosing(LayerManifest)
        case expectingContent(LayerManifest, Progress)
        case done
    }

    private struct Progress: Sendable {
        /// Indices that are still to come, in the order they were asked for, next one last.
        var pending: [Int]
        var hasher = DigestHasher()
        var position: Int64 = 0
    }

    package let id: Digest
    private var state = State.expectingManifest(total: nil, [])

    package init(_ id: Digest) { self.id = id }

    /// Takes one message.
    ///
    /// - Throws: `TransferError`; whatever the holder sent before is not to be used then.
    package mutating func receive(_ message: TransferMessage) throws(TransferError) -> [Effect] {
        if case .failure(let why) = message { throw .refused(why) }
        switch (state, message) {
        case (.expectingManifest(nil, _), .head(let total, let bytes)):
            guard total <= LayerManifest.encodedBytesMax else {
                throw .malformedMessage("a manifest of \(total) bytes")
            }
            return try gather(total: Int(total), [], bytes)
        case (.expectingManifest(let total?, let held), .part(let bytes)):
            state = .done  // So that `held` has one owner and grows in place.
            return try gather(total: total, held, bytes)
        case (.expectingContent(let manifest, let progress), .content(let pieces)):
            state = .done
            return try take(pieces, manifest, progress)
        case (.expectingContent(_, let progress), .end):
            guard progress.pending.isEmpty else { throw .endedEarly }
            state = .done
            return [.finished]
        default: throw .unexpectedMessage(Self.name(message))
        }
    }

    /// Asks for the content of the files at `entries`, indices in the manifest, in rising order; each file that is not
    /// empty can be asked for.
    package mutating func want(_ entries: [Int]) -> [TransferMessage] {
        guard case .choosing(let manifest) = state else { preconditionFailure("want comes after the manifest") }
        state = .expectingContent(manifest, Progress(pending: entries.reversed()))
        var ranges: [Range<Int>] = []
        for entry in entries {
            if let last = ranges.last, last.upperBound == entry {
                ranges[ranges.count - 1] = last.lowerBound..<entry + 1
            } else {
                ranges.append(entry..<entry + 1)
            }
        }
        var messages: [TransferMessage] = []
        repeat {
            let batch = Array(ranges.prefix(TransferMessage.rangesMax))
            ranges.removeFirst(batch.count)
            messages.append(.want(batch, isLast: ranges.isEmpty))
        } while !ranges.isEmpty
        return messages
    }

    private mutating func gather(
        total: Int, _ held: consuming [UInt8], _ bytes: [UInt8]
    ) throws(TransferError) -> [Effect] {
        guard bytes.count <= total - held.count else { throw .malformedMessage("a manifest longer than announced") }
        held += bytes
        guard held.count == total else {
            // Else a holder could keep us busy with nothing for ever.
            guard !bytes.isEmpty else { throw .malformedMessage("an empty part of a manifest") }
            state = .expectingManifest(total: total, held)
            return []
        }
        let actual = Digest.of(held)
        guard actual == id else { throw .wrongManifest(expected: id, actual: actual) }
        let manifest: LayerManifest
        do throws(ManifestError) { manifest = try LayerManifest(decoding: held) } catch { throw .manifest(error) }
        state = .choosing(manifest)
        return [.manifest(manifest)]
    }

    private mutating func take(
        _ pieces: [TransferMessage.Piece], _ manifest: LayerManifest, _ before: consuming Progress
    ) throws(TransferError) -> [Effect] {
        var progress = before
        var effects: [Effect] = []
        guard !pieces.isEmpty else { throw .malformedMessage("content without a piece") }
        for piece in pieces {
            guard let expected = progress.pending.last, expected == piece.entry else {
                throw .unexpectedMessage("content of entry \(piece.entry)")
            }
            let entry = manifest.entries[expected]
            guard case .file(let size, let content) = entry.kind else {
                preconditionFailure("only files are asked for, not \(entry.displayPath)")
            }
            guard piece.offset >= progress.position, piece.offset <= size,
                Int64(piece.bytes.count) <= size - piece.offset,
                !piece.bytes.isEmpty || (piece.offset == size && progress.position < size)
            else {
                throw .malformedMessage("a piece of \(entry.displayPath) at \(piece.offset) beyond its \(size) bytes")
            }
            progress.hasher.update(zeros: piece.offset - progress.position)
            progress.hasher.update(piece.bytes)
            progress.position = piece.offset + Int64(piece.bytes.count)
            effects.append(.write(entry: expected, offset: piece.offset, bytes: piece.bytes))
            guard progress.position == size else { continue }
            let actual = progress.hasher.finish()
            guard actual == content else {
                throw .wrongContent(path: entry.displayPath, expected: content, actual: actual)
            }
            effects.append(.complete(entry: expected))
            progress.pending.removeLast()
            progress.hasher = DigestHasher()
            progress.position = 0
        }
        state = .expectingContent(manifest, progress)
        return effects
    }

    private static func name(_ message: TransferMessage) -> String {
        switch message {
        case .head: "a head"
        case .part: "a part"
        case .want: "a want list"
        case .content: "content"
        case .end: "an end"
        case .failure: "a failure"
        }
    }
}

extension DigestHasher {
    private static let zeros = [UInt8](repeating: 0, count: 64 << 10)

    /// Hashes `count` zero bytes, which a hole stands for.
    package mutating func update(zeros count: Int64) {
        var rest = count
        while rest > 0 {
            let piece = Int(min(rest, Int64(Self.zeros.count)))
            update(Self.zeros[..<piece])
            rest -= Int64(piece)
        }
    }
}
