internal import ClusterModel
package import OCI
package import Transfer

extension SnapshotStore {
    /// What a layer holds, asked of its holders unless they have been asked lately: nothing of it is stored.
    ///
    /// - Throws: `PullFailure` when none gives it, `CancellationError`.
    package func pullManifest(
        of id: Digest, from holders: [LayerHolder], observer: PullObserver = PullObserver()
    ) async throws -> LayerManifest {
        if let known = foreignManifest(of: id) { return known }
        var candidates = holders.filter(\.isKnown) + holders.filter { !$0.isKnown }
        let answer = try await askManifest(of: id, from: &candidates, asked: holders.count, observer)
        answer.stream.reset()
        rememberForeign(answer.manifest)
        return answer.manifest
    }

    /// Fetches a part of a layer from holders of the whole, as a layer of its own; the whole is not here afterwards.
    ///
    /// In all else as `pullLayer`.
    package func pullPart(
        _ part: LayerPart, from holders: [LayerHolder], observer: PullObserver = PullObserver()
    ) async throws {
        let id = part.manifest.id
        while true {
            if contains(id) { return }
            guard await waitForOther(id) else { break }
            try Task.checkCancellation()
        }
        defer { endPull(of: id) }
        guard !contains(id) else { return }
        let directory = root + "/pulls/" + id.hex
        do {
            try await pull(part.whole, part, from: holders, in: directory, observer)
        } catch let error as SnapshotError {
            removeTree(directory)
            throw error
        }
    }
}
