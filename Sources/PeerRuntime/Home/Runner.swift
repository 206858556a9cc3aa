internal import BuildSession
internal import ClusterModel
internal import LLB
internal import Logging
internal import OCI
internal import Solver

/// Places a vertex and runs it there, on this node or a peer.
struct Runner: Sendable {
    struct Work: Sendable {
        var assignment: Assignment
        var vertex: Vertex
        var build: BuildID
        var session: (any ClientSession)?
        var entitlements: Set<String>
        var progresses: [BuildProgress]
        /// Names of the segment's vertices from this one on.
        var segment: [String]
        /// What the rest of the segment reads beside its own results, as far as it exists.
        var prefetch: @Sendable () async -> [TreeReading]
    }

    enum Outcome: Sendable {
        case finished(VertexResult, VertexOutcome)
        case failed(VertexFailure)
        case lost(PeerID)
        case inputLost(Int)
    }

    let placer: Placer
    let executor: Executor
    let dialer: any PeerDialer
    let logger: Logger

    func run(_ work: Work, placed: @Sendable (PeerID) async -> Void) async -> Outcome {
        let decision = await placer.place(
            work.assignment, platform: Self.platform(of: work.vertex), segment: work.segment)
        await placed(decision.node)
        report(decision, of: work)
        let outcome = await execute(work, on: decision.node)
        await placer.ended(on: decision.node)
        return outcome
    }

    /// Lets a node that runs a step fetch what a later one reads.
    func prefetch(_ reading: TreeReading, at node: PeerID) async {
        guard node != dialer.selfID else { return executor.prefetcher.add([reading]) }
        do {
            let stream = try await dialer.open(.prefetch, to: node)
            try await stream.send(PeerMessage.prefetch(reading))
            await stream.finish()
            while try await stream.receive() != nil {}
        } catch {
            logger.debug(
                "a node was not told of a tree", metadata: ["node": "\(dialer.name(of: node))", "error": "\(error)"])
        }
    }

    private static func platform(of vertex: Vertex) -> Platform? {
        guard vertex.operation.hasPlatform else { return nil }
        let platform = vertex.operation.platform
        return Platform(os: platform.os, architecture: platform.architecture, variant: platform.variant)
    }

    private func report(_ decision: PlacementDecision, of work: Work) {
        for progress in work.progresses {
            progress.change(reportOf: work.vertex.digest, name: work.vertex.name) { report in
                report.node = dialer.name(of: decision.node)
                report.attempts = work.assignment.excluded.count + 1
                report.candidates = decision.candidates.map {
                    BuildReport.Candidate(
                        node: dialer.name(of: $0.candidate.peer), queueDelaySeconds: $0.queueDelaySeconds,
                        bytesToPull: $0.candidate.bytesToPull, scoreSeconds: $0.scoreSeconds)
                }
            }
        }
    }

    private func execute(_ work: Work, on node: PeerID) async -> Outcome {
        // Known only now: what comes to be later is told to the node when it does.
        let prefetch = await work.prefetch()
        let execution = Execution(
            build: work.build, operation: work.vertex.operation,
            resources: work.vertex.metadata.hasLinuxResources ? work.vertex.metadata.linuxResources : nil,
            name: work.vertex.name, key: work.assignment.key, aliases: work.assignment.aliases,
            inputs: work.assignment.inputs, entitlements: work.entitlements, session: work.session,
            ignoresCache: work.assignment.ignoresCache, priority: .local, prefetch: prefetch)
        do {
            let outcome =
                node == dialer.selfID
                ? try await executor.execute(execution, observer(of: work))
                : try await RemoteExecution(dialer: dialer).execute(execution, on: node, observer(of: work))
            return await finish(work, outcome, on: node)
        } catch {
            guard node != dialer.selfID else { return .failed(VertexFailure("\(error)")) }
            logger.info(
                "a peer did not finish a step", metadata: ["node": "\(dialer.name(of: node))", "error": "\(error)"])
            return .lost(node)
        }
    }

    private func finish(_ work: Work, _ outcome: Execution.Outcome, on node: PeerID) async -> Outcome {
        switch outcome {
        case .failed(let failure): return .failed(failure)
        case .inputLost(let index): return .inputLost(index)
        case .finished(let record, let merged, let moved, let seconds):
            if !merged { await placer.ran(work.vertex.name, seconds: seconds) }
            for progress in work.progresses {
                progress.change(reportOf: work.vertex.digest, name: work.vertex.name) {
                    $0.seconds = seconds
                    $0.moved = moved
                }
            }
            let holder = record.result.holders.first ?? node
            return .finished(record.result, merged ? .merged(with: holder) : .executed(on: node))
        }
    }

    private func observer(of work: Work) -> Execution.Observer {
        let digest = work.vertex.digest
        return Execution.Observer(
            started: { for progress in work.progresses { progress.begin(digest) } },
            log: { stream, bytes in
                let log = VertexLog(vertex: digest, timestamp: BuildProgress.now(), stream: stream, bytes: bytes)
                for progress in work.progresses { progress.log.append(.log(log)) }
            },
            progress: { id, name, current, total, done in
                for progress in work.progresses {
                    progress.status(of: digest, id: id, name: name, current: current, total: total, done: done)
                }
            })
    }
}
