internal import ClusterModel
internal import OCI
internal import Transfer

/// Fetches what is new of chunks that changed in some places only, from one holder, before the rest is pulled.
///
/// The holder tells of what pieces such a chunk is made; those that old versions of the file have are taken from there.
/// A chunk that does not come out right is left to the pull.
struct DeltaPull: Sendable {
    /// With fewer bytes of chunks the question takes longer than it saves.
    private static let bytesMin = 256 << 10
    /// After so many batches it is asked whether it pays.
    private static let trialBatches = 4
    /// It does when this share of the bytes, in percent, did not have to come.
    private static let savedPercentMin = 25

    /// Old chunks that are read for one question, at most.
    private static let sourceBytesMax = 4 * TransferMessage.packBytesMax

    /// Chunks of one question.
    private struct Batch: Sendable {
        /// Ordinals of the layer that is being pulled, rising.
        var ordinals: [Int] = []
        var sources: [OldVersions.Source] = []
        var bytes = 0
        var sourceBytes = 0
    }

    private let target: PulledLayer
    private let old: OldVersions
    private let part: LayerPart?
    private let batches: [Batch]

    /// Nil when there is not enough to gain.
    init?(_ missing: [Int], of target: PulledLayer, _ old: OldVersions, part: LayerPart?) {
        self.target = target
        self.old = old
        self.part = part
        guard !old.layers.isEmpty else { return nil }
        var batches: [Batch] = [Batch()]
        let table = target.table
        var start = 0
        while start < missing.count {
            // The chunks of one file, as many as a batch takes.
            let entry = table.chunks[missing[start]].place.entry
            var end = start
            var bytes = 0
            while end < missing.count, table.chunks[missing[end]].place.entry == entry,
                bytes + table.chunks[missing[end]].length <= TransferMessage.packBytesMax
            {
                bytes += table.chunks[missing[end]].length
                end += 1
            }
            let ordinals = missing[start..<end].filter { table.chunks[$0].length >= ChunkOutline.chunkBytesMin }
            start = end
            let sources = old.sources(
                of: ordinals.map { table.chunks[$0] }[...], at: target.manifest.entries[entry].path)
            guard !sources.isEmpty else { continue }
            let wanted = ordinals.reduce(0) { $0 + table.chunks[$1].length }
            let read = sources.reduce(0) { $0 + $1.length }
            // A file of which so much has changed is another file.
            guard read <= Self.sourceBytesMax else { continue }
            let last = batches[batches.count - 1]
            if last.bytes + wanted > TransferMessage.packBytesMax || last.sourceBytes + read > Self.sourceBytesMax {
                batches.append(Batch())
            }
            batches[batches.count - 1].sourceBytes += read
            batches[batches.count - 1].ordinals += ordinals
            batches[batches.count - 1].sources += sources
            batches[batches.count - 1].bytes += wanted
        }
        guard batches.reduce(0, { $0 + $1.bytes }) >= Self.bytesMin else { return nil }
        self.batches = batches
    }

    /// Asks on a stream of the holder; returns the ordinals that are stored now.
    ///
    /// `stored` has them also when the exchange breaks off, as it does without `waits` where the holder serves others
    /// first.
    func run(
        on stream: any PeerStream, of holder: UInt64, waits: Bool, in store: SnapshotStore, _ observer: PullObserver,
        stored: @escaping @Sendable ([Int]) -> Void
    ) async throws {
        let limits = store.transferLimits
        try await withStallGuard(on: stream, limits, failure: .stalled(limits)) { heard in
            var inbox = HolderInbox(stream, waits: waits)
            var (whole, came) = (0, 0)
            try await ask(0, on: stream)
            var outline = try await self.outline(0, &inbox, heard)
            for number in batches.indices {
                let next = number + 1 < batches.count && Self.pays(number, whole, came) ? number + 1 : nil
                // While this side reads, the holder does.
                if let next { try await ask(next, on: stream) }
                let pieces = outline
                let merge = try await offPool { try self.merge(batches[number], pieces, in: store) }
                if merge.wantedBytes > 0 {
                    let want = TransferMessage.wantPieces(
                        request: number, ranges(of: batches[number]), pieces: merge.wanted)
                    try await stream.send(want.encoded())
                }
                if let next { outline = try await self.outline(next, &inbox, heard) }
                let new = merge.wantedBytes > 0 ? try await self.pack(number, merge, &inbox, heard) : nil
                let ordinals = try await offPool { try self.store(batches[number], merge, new) }
                stored(ordinals)
                let bytes = ordinals.reduce(0) { $0 + target.table.chunks[$1].length }
                observer.received(holder, Int64(merge.wantedBytes), Int64(new?.encodedBytes ?? 0))
                observer.deduplicated(Int64(max(0, bytes - merge.wantedBytes)))
                (whole, came) = (whole + batches[number].bytes, came + merge.wantedBytes)
                // One chunk that is not what its pieces say: the pull finds out who is wrong.
                guard next != nil, ordinals.count == batches[number].ordinals.count else { return }
            }
        }
    }

    private static func pays(_ number: Int, _ whole: Int, _ came: Int) -> Bool {
        number < trialBatches || (whole - came) * 100 >= whole * savedPercentMin
    }

    private func ask(_ number: Int, on stream: any PeerStream) async throws {
        try await stream.send(TransferMessage.askOutline(request: number, ranges(of: batches[number])).encoded())
    }

    /// The holder's ordinals of a batch's chunks.
    private func ranges(of batch: Batch) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        for ordinal in holderOrdinals(of: batch) {
            if let last = ranges.last, last.upperBound == ordinal {
                ranges[ranges.count - 1] = last.lowerBound..<ordinal + 1
            } else {
                ranges.append(ordinal..<ordinal + 1)
            }
        }
        return ranges
    }

    private func holderOrdinals(of batch: Batch) -> [Int] { part?.ordinalsOfWhole(batch.ordinals) ?? batch.ordinals }

    /// A batch's chunks in the order in which the holder has them.
    private func ownOrdinals(of batch: Batch) -> [Int] {
        guard let part else { return batch.ordinals }
        return Array(part.ownRanges(ranges(of: batch)).joined())
    }

    private func outline(
        _ number: Int, _ inbox: inout HolderInbox, _ heard: ProgressReport
    ) async throws -> [ChunkOutline.Piece] {
        guard let (message, _) = try await inbox.next({ heard(.waiting) }) else { throw TransferError.endedEarly }
        switch message {
        case .outline(number, let pieces):
            heard(.answer)
            return pieces
        case .failure(let why): throw TransferError.refused(why)
        default: throw TransferError.unexpectedMessage("a message that is not outline \(number)")
        }
    }

    private func pack(
        _ number: Int, _ merge: ChunkMerge, _ inbox: inout HolderInbox, _ heard: ProgressReport
    ) async throws -> ReceivedPack {
        var assembler = PackAssembler()
        while let (message, bytes) = try await inbox.next({ heard(.waiting) }) {
            let pack = try assembler.receive(message) { $0 == number ? merge.wantedBytes : nil }
            heard(pack == nil ? .part(bytes: bytes) : .answer)
            if let pack { return pack }
        }
        throw TransferError.endedEarly
    }

    private func merge(
        _ batch: Batch, _ pieces: [ChunkOutline.Piece], in store: SnapshotStore
    ) throws(TransferError) -> ChunkMerge {
        let lengths = ownOrdinals(of: batch).map { target.table.chunks[$0].length }
        return try ChunkMerge(pieces, chunkLengths: lengths, known: old.pieces(of: batch.sources, in: store))
    }

    private func store(_ batch: Batch, _ merge: ChunkMerge, _ new: ReceivedPack?) throws -> [Int] {
        let bytes = ReceivedPack.inOnePiece(try new?.plainParts() ?? [])
        var stored: [Int] = []
        for (ordinal, chunk) in zip(ownOrdinals(of: batch), merge.chunks(with: bytes)) {
            let isRight = try chunk.withUnsafeBytes { bytes in
                Result { () throws(SnapshotError) in try target.store(ordinal, bytes) }
            }.get()
            if isRight { stored.append(ordinal) }
        }
        return stored
    }
}
