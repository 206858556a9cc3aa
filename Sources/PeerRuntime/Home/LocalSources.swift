internal import BuildSession
internal import ClusterModel
internal import Foundation
internal import OCI
internal import Snapshots
internal import Synchronization

/// Trees of clients' directories, kept between builds so that only differences are sent.
actor LocalSources {
    /// Directories that are kept; beyond it, the one that was unused longest goes.
    static let keptMax = 64

    private struct Kept {
        var imported: DirectoryImport?
        var lastUsed: UInt64 = 0
        var isBusy = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let root: String
    private let snapshots: SnapshotStore
    private var kept: [String: Kept] = [:]
    private var uses: UInt64 = 0

    init(root: String, snapshots: SnapshotStore) throws {
        self.root = root
        self.snapshots = snapshots
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        // Those of earlier runs count too.
        for name in try FileManager.default.contentsOfDirectory(atPath: root) { kept[name] = Kept() }
    }

    /// Brings the client's directory here and returns it as a layer.
    ///
    /// The kept tree is shared only within a client's shared key. A client without one gets everything sent anew: two
    /// directories may agree in names, sizes and times and yet differ, and a wrong byte is worse than a slow upload.
    ///
    /// Each set of patterns has a tree of its own, with just what they select, so that builds with other patterns can
    /// run at once. One that is new begins with the files of the same directory's tree that was used last: after one
    /// more `COPY` or ignored path, only what is not in that tree is sent.
    func tree(
        _ request: DirectoryRequest, hint: String, session: any ClientSession,
        progress: @escaping @Sendable (Int64) -> Void
    ) async throws -> LayerChain {
        var request = request
        if session.sharedKey.isEmpty { request.comparison = .none }
        let source = Self.digest([request.name, hint, session.sharedKey])
        let patterns = [request.includePatterns, request.excludePatterns, request.followPaths]
        let name = source + "-" + Self.digest(patterns.map { $0.joined(separator: "\n") })
        await enter(name)
        defer { leave(name) }
        let directory = root + "/" + name
        let isNew = !FileManager.default.fileExists(atPath: directory)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        if isNew, request.comparison == .metadata, let seed = lastIdle(of: source) {
            TreeLinks.make(of: root + "/" + seed, in: directory)
        }
        let changes: DirectoryChanges
        do {
            changes = try await session.receiveDirectory(request, into: directory, progress: progress)
        } catch {
            kept[name]?.imported = nil
            throw error
        }
        if changes.entries == 0, let imported = kept[name]?.imported, snapshots.contains(imported.layer.id) {
            return LayerChain([imported.layer])
        }
        let imported = try snapshots.importDirectory(directory, previous: kept[name]?.imported?.digests)
        kept[name]?.imported = imported
        return LayerChain([imported.layer])
    }

    private static func digest(_ parts: [String]) -> String {
        Digest.of(Array(parts.joined(separator: "\u{0}").utf8)).hex
    }

    /// The tree of a directory that was used last, whatever its patterns, among those that no sync changes now.
    private func lastIdle(of source: String) -> String? {
        kept.filter { $0.key.hasPrefix(source + "-") && !$0.value.isBusy }
            .max { ($0.value.lastUsed, $0.key) < ($1.value.lastUsed, $1.key) }?.key
    }

    /// One sync of a directory at a time.
    private func enter(_ name: String) async {
        if kept[name, default: Kept()].isBusy {
            await withCheckedContinuation { kept[name, default: Kept()].waiting.append($0) }
        } else {
            kept[name, default: Kept()].isBusy = true
        }
    }

    private func leave(_ name: String) {
        uses += 1
        kept[name]?.lastUsed = uses
        guard kept[name]?.waiting.isEmpty == false else {
            kept[name]?.isBusy = false
            evict()
            return
        }
        kept[name]?.waiting.removeFirst().resume()
    }

    private func evict() {
        while kept.count > Self.keptMax {
            let idle = kept.filter { !$0.value.isBusy }
            guard let oldest = idle.min(by: { ($0.value.lastUsed, $0.key) < ($1.value.lastUsed, $1.key) }) else {
                return
            }
            kept[oldest.key] = nil
            // What cannot be removed now is found again at the next start.
            try? FileManager.default.removeItem(atPath: root + "/" + oldest.key)
        }
    }
}
