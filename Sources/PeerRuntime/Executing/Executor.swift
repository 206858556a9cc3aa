internal import CacheMap
internal import ClusterModel
internal import LLB
internal import Logging
internal import OCI
internal import Solver
internal import Worker

/// Runs vertices on this node: claim, inputs, slot, operation, record.
///
/// The order matters. The claim comes first, so that waiting for somebody else's run takes no slot and pulls nothing.
/// Inputs are pulled before the slot is taken. The record is durable before anybody hears of it.
struct Executor: Sendable {
    /// Records of others that may fail their confirmation before the step runs here.
    static let rejectionsMax = 3

    let operations: Operations
    let records: RecordIndex
    let claims: Claims
    let fetcher: LayerFetcher
    let prefetcher: Prefetcher
    let slots: Slots
    let dialer: any PeerDialer
    let counters: RuntimeCounters
    let logger: Logger
    let clock = ContinuousClock()

    func execute(_ execution: Execution, _ observer: Execution.Observer) async throws -> Execution.Outcome {
        guard !execution.ignoresCache else { return try await run(execution, claim: nil, observer) }
        var rejected: PeerID?
        for _ in 0..<Self.rejectionsMax {
            if let record = records.local(execution.key) {
                return .finished(record, merged: true, moved: MovedBytes(), seconds: 0)
            }
            switch try await claims.acquire(execution.key, rejecting: rejected) {
            case .granted(let claim): return try await runClaimed(execution, claim, observer)
            case .outcome(.failed(let failure)): return .failed(failure)
            case .outcome(.record(let record)):
                if let confirmed = await confirm(record, key: execution.key) {
                    return .finished(confirmed, merged: true, moved: MovedBytes(), seconds: 0)
                }
                rejected = record.result.holders.first
            }
        }
        return try await run(execution, claim: nil, observer)
    }

    /// The arbiter's memory may be older than a collection or a crash: the holder has the last word.
    private func confirm(_ record: FoundRecord, key: CacheKey) async -> FoundRecord? {
        for holder in record.result.holders {
            if holder == dialer.selfID {
                if let local = records.local(key) { return local }
            } else if dialer.isLive(holder), let confirmed = await records.confirm(key, at: holder) {
                return confirmed
            }
        }
        return nil
    }

    private func runClaimed(
        _ execution: Execution, _ claim: Claim, _ observer: Execution.Observer
    ) async throws -> Execution.Outcome {
        do {
            // Between the look-up of the home node and this grant somebody may have finished it here.
            if let record = records.local(execution.key) {
                await claim.finish(.record(record))
                return .finished(record, merged: true, moved: MovedBytes(), seconds: 0)
            }
            let outcome = try await run(execution, claim: claim, observer)
            switch outcome {
            case .finished(let record, _, _, _): await claim.finish(.record(record))
            case .failed(let failure) where failure.exitCode != nil: await claim.finish(.failed(failure))
            // A missing secret, a full disk: it may go well for the next in line, with another client or elsewhere.
            case .failed, .inputLost: await claim.release()
            }
            return outcome
        } catch {
            await claim.release()
            throw error
        }
    }

    private func run(
        _ execution: Execution, claim: Claim?, _ observer: Execution.Observer
    ) async throws -> Execution.Outcome {
        let tally = TransferTally()
        return try await TransferTally.$current.withValue(tally) {
            try await run(execution, observer, tally)
        }
    }

    private func run(
        _ execution: Execution, _ observer: Execution.Observer, _ tally: TransferTally
    ) async throws -> Execution.Outcome {
        let held = HeldLayers(fetcher.snapshots)
        defer { held.release() }
        var execution = execution
        let reads = InputDependency.reads(of: execution.operation, inputs: execution.inputs.count)
        var aside: [TreeReading] = []
        for (index, input) in execution.inputs.enumerated() {
            do {
                let reading = TreeReading(tree: input, selections: reads[index])
                aside += await prefetcher.giveWay(to: input.chain.layers.map(\.id))
                tally.add(prefetcher.claim(input.chain))
                execution.inputs[index].chain = try await fetcher.hold(reading, in: held)
            } catch let error as LayersUnavailable {
                logger.warning("an input is lost", metadata: ["step": "\(execution.name)", "error": "\(error)"])
                prefetcher.add(aside)
                return .inputLost(index)
            }
        }
        prefetcher.add(aside + execution.prefetch)
        let ready = execution
        do {
            let (outputs, seconds) = try await inSlot(ready) {
                observer.started()
                let start = clock.now
                let outputs = try await operations.run(ready, observer)
                return (outputs, (clock.now - start).inSeconds)
            }
            counters.add(\.verticesExecuted, 1)
            let record = FoundRecord(
                canonicalKey: execution.key, result: VertexResult(outputs: outputs, holders: [dialer.selfID]))
            try await records.add(
                record, key: execution.key, aliases: execution.aliases, cost: seconds, name: execution.name)
            return .finished(record, merged: false, moved: tally.value, seconds: seconds)
        } catch let error as CancellationError {
            throw error
        } catch {
            try Task.checkCancellation()
            return .failed(VertexFailure("\(error)", exitCode: (error as? OperationError)?.exitCode))
        }
    }

    /// Steps take a slot; copying files and pulling images is bounded by disk and network, not by processors.
    private func inSlot<T: Sendable>(
        _ execution: Execution, _ body: @Sendable () async throws -> T
    ) async throws -> T {
        guard case .exec = execution.operation.op else { return try await body() }
        return try await slots.withSlot(execution.priority, body)
    }
}
