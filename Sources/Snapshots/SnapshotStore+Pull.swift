internal import ClusterModel
internal import Glibc
package import OCI
internal import Synchronization
internal import Transfer

extension SnapshotStore {
    /// Holders that work for one pull at once: more add nothing on a link that three fill.
    package static let pullHoldersMax = 4

    /// Fetches a layer from its holders, whole and verified or not at all; a large one is durable a little later.
    ///
    /// Chunks that this node has, in whatever layer, are not fetched; what an earlier pull had brought is kept, also over
    /// a restart. Of several pulls of one layer at once, one works and the others wait for it.
    /// - Throws: `PullFailure` when the holders do not give all of it, `SnapshotError` when the disk refuses,
    ///   `CancellationError`.
    package func pullLayer(
        _ id: Digest, from holders: [LayerHolder], observer: PullObserver = PullObserver()
    ) async throws {
        while true {
            if contains(id) { return }
            guard await waitForOther(id) else { break }
            try Task.checkCancellation()
        }
        defer { endPull(of: id) }
        guard !contains(id) else { return }
        let directory = root + "/pulls/" + id.hex
        do {
            try await pull(id, from: holders, in: directory, observer)
        } catch let error as SnapshotError {
            // A full disk is not helped by half a layer.
            removeTree(directory)
            throw error
        }
    }

    /// Pulls layer `id`, or the part of it, into `directory` and puts it in its place.
    func pull(
        _ id: Digest, _ part: LayerPart? = nil, from holders: [LayerHolder], in directory: String,
        _ observer: PullObserver
    ) async throws {
        var candidates = holders.filter(\.isKnown) + holders.filter { !$0.isKnown }
        var first: (holder: LayerHolder, stream: any PeerStream)?
        let manifest: LayerManifest
        if let part {
            manifest = part.manifest
        } else if let known = stagedManifest(id, in: directory) ?? foreignManifest(of: id) {
            manifest = known
        } else {
            let answer = try await askManifest(
                of: id, from: &candidates, asked: holders.count, observer)
            manifest = answer.manifest
            first = (answer.holder, answer.stream)
        }
        do {
            let answered = ContinuousClock.now
            let target = try await offPool { [self] in try stage(manifest, in: directory) }
            async let marked: Void = offPool { [self] in try mark(target) }
            var (missing, old) = try await offPool { [self] in try settle(target, observer) }
            if let idle = first, ContinuousClock.now - answered > transferLimits.servedIdle / 2 {
                // The holder may be about to end a stream on which nothing was asked for that long.
                idle.stream.reset()
                candidates.insert(idle.holder, at: 0)
                first = nil
            }
            if let delta = DeltaPull(missing, of: target, old, part: part) {
                let stored = try await fetchChanges(delta, old, &first, &candidates, observer)
                missing.removeAll { stored.contains($0) }
            }
            if !missing.isEmpty {
                let table = part?.wholeTable ?? target.table
                let wanted = part?.ordinalsOfWhole(missing) ?? missing
                let plan = PullPlan(
                    missing: wanted, holders: min(candidates.count + 1, Self.pullHoldersMax), limits: transferLimits
                ) { table.chunks[$0].length }
                let run = PullRun(plan, target, observer, part: part)
                try await run.run(first: first, others: candidates)
            }
            first?.stream.reset()
            try await marked
            try await offPool { [self] in
                try target.finish()
                try seal(target)
                removeTree(directory)
            }
        } catch {
            first?.stream.reset()
            throw error
        }
    }

    /// Fetches what is new of changed chunks from the first holder; returns the ordinals that are stored now.
    ///
    /// When it does not work, also with a holder that knows nothing of outlines, the pull does without.
    private func fetchChanges(
        _ delta: DeltaPull, _ old: OldVersions, _ first: inout (holder: LayerHolder, stream: any PeerStream)?,
        _ candidates: inout [LayerHolder], _ observer: PullObserver
    ) async throws -> Set<Int> {
        // Those that were removed meanwhile are read in vain, which costs their bytes.
        let layers = old.layers.filter { (try? pin([$0])) != nil }
        defer { unpin(layers) }
        if first == nil, let holder = candidates.first, let stream = try? await holder.open() {
            first = (candidates.removeFirst(), stream)
        }
        guard let current = first else { return [] }
        let stored = Mutex<Set<Int>>([])
        // Rather whole chunks from a holder that serves now.
        let waits = !candidates.contains(where: \.isKnown)
        do {
            try await delta.run(
                on: current.stream, of: current.holder.id, waits: waits, in: self, observer
            ) { ordinals in
                stored.withLock { $0.formUnion(ordinals) }
            }
        } catch let error as SnapshotError {
            throw error
        } catch {
            try Task.checkCancellation()
            current.stream.reset()
            first = nil
            if let error = error as? TransferError, error.isLie {
                observer.lied(current.holder.id)
                candidates.append(current.holder)
            } else {
                candidates.insert(current.holder, at: 0)
            }
        }
        return stored.withLock { $0 }
    }

    /// The manifest that an earlier pull got.
    private func stagedManifest(_ id: Digest, in directory: String) -> LayerManifest? {
        guard let bytes = try? readFile(directory + "/layer/manifest"), Digest.of(bytes) == id else { return nil }
        return try? LayerManifest(decoding: bytes)
    }

    private func stage(_ manifest: LayerManifest, in directory: String) throws -> PulledLayer {
        let target = try PulledLayer(manifest, in: directory)
        try writeManifest(manifest, to: directory + "/layer/manifest")
        return target
    }

    /// Finds what is here already; returns the ordinals of what is not, and what they may have been before.
    private func settle(
        _ target: PulledLayer, _ observer: PullObserver
    ) throws -> (missing: [Int], old: OldVersions) {
        var isThere = try target.present()
        let resumed = isThere.indices.reduce(0) { $0 + (isThere[$1] ? Int64(target.table.chunks[$1].length) : 0) }
        if resumed > 0 { observer.resumed(resumed) }
        let local = try LocalChunks(target.table, isMissing: isThere.map { !$0 }, in: self)
        let layers = Array(Set(local.sources.map(\.layer))).filter { (try? pin([$0])) != nil }
        defer { unpin(layers) }
        let copied = try local.copy(to: target, in: self)
        for ordinal in copied.ordinals { isThere[ordinal] = true }
        if copied.bytes > 0 { observer.deduplicated(copied.bytes) }
        return (isThere.indices.filter { !isThere[$0] }, OldVersions(local, of: target.table, in: self))
    }

    /// Asks one holder after the other for the manifest; those that were asked are taken from `candidates`.
    ///
    /// One that serves others first is waited for when no other is left that is known to hold the layer.
    func askManifest(
        of id: Digest, from candidates: inout [LayerHolder], asked: Int, _ observer: PullObserver
    ) async throws -> (manifest: LayerManifest, holder: LayerHolder, stream: any PeerStream) {
        var reason = "nobody is known to hold it"
        var busy: Set<UInt64> = []
        while !candidates.isEmpty {
            try Task.checkCancellation()
            let holder = candidates.removeFirst()
            let waits = busy.contains(holder.id) || !candidates.contains(where: \.isKnown)
            do {
                let stream = try await holder.open()
                do {
                    let manifest = try await askManifest(of: id, on: stream, waits: waits)
                    return (manifest, holder, stream)
                } catch {
                    stream.reset()
                    throw error
                }
            } catch TransferError.busy {
                busy.insert(holder.id)
                let place = candidates.firstIndex { !$0.isKnown } ?? candidates.endIndex
                candidates.insert(holder, at: place)
            } catch {
                try Task.checkCancellation()
                if let error = error as? TransferError, error.isLie { observer.lied(holder.id) }
                reason = "\(error)"
                observer.failed(holder.id, reason)
            }
        }
        throw PullFailure(asked: asked, reason: reason)
    }

    private func askManifest(
        of id: Digest, on stream: any PeerStream, waits: Bool
    ) async throws -> LayerManifest {
        let limits = transferLimits
        return try await withStallGuard(on: stream, limits, failure: .stalled(limits)) { heard in
            try await stream.send(TransferMessage.askManifest.encoded())
            var inbox = HolderInbox(stream, waits: waits)
            var pull = ManifestPull(id)
            var assembler = PackAssembler()
            while let (message, bytes) = try await inbox.next({ heard(.waiting) }) {
                if case .manifest(let total) = message {
                    try pull.begin(total: total)
                    heard(.answer)
                    continue
                }
                guard let pack = try assembler.receive(message, expected: { pull.expected($0) }) else {
                    heard(.part(bytes: bytes))
                    continue
                }
                heard(.answer)
                if let manifest = try pull.receive(ReceivedPack.inOnePiece(pack.plainParts())) { return manifest }
            }
            throw TransferError.endedEarly
        }
    }

    // MARK: One pull a layer

    /// False when nobody else pulls the layer, and this caller is now the one who does; true when another's pull ended.
    func waitForOther(_ id: Digest) async -> Bool {
        let ticket = nextNumber()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = withPulls { pulls -> Bool? in
                    guard pulls[id] != nil else {
                        pulls[id] = PullWaiters()
                        return false
                    }
                    // A cancellation from here on finds the entry.
                    if Task.isCancelled { return true }
                    pulls[id]?.waiting[ticket] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let mine = withPulls { $0[id]?.waiting.removeValue(forKey: ticket) }
            mine?.resume(returning: true)
        }
    }

    func endPull(of id: Digest) {
        let waiting = withPulls { $0.removeValue(forKey: id)?.waiting ?? [:] }
        for continuation in waiting.values { continuation.resume(returning: true) }
    }
}

extension ReceivedPack {
    /// The pack's bytes, as many as it says.
    func plainParts() throws(TransferError) -> [ArraySlice<UInt8>] {
        switch coding {
        case .plain: return parts
        case .zstd:
            guard let plain = ZstdCoder.decompress(bytes, count: plainBytes) else {
                throw .malformedMessage("a pack that does not decompress to \(plainBytes) bytes")
            }
            return [plain[...]]
        }
    }
}
