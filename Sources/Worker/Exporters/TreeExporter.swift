package import BuildSession
internal import ClusterModel
internal import Foundation
internal import Glibc
internal import OCI
package import Snapshots

/// Exports file trees instead of images (exporters `tar` and `local`).
package struct TreeExporter: Sendable {
    private let snapshots: SnapshotStore
    /// Where the trees of several platforms are put side by side.
    private let workDirectory: String
    private let progress: OperationContext.Progress

    /// Makes an exporter; `workDirectory` is for short-lived mount points and is made when needed.
    package init(
        snapshots: SnapshotStore, workDirectory: String,
        progress: @escaping OperationContext.Progress = { _, _, _, _, _ in }
    ) {
        self.snapshots = snapshots
        self.workDirectory = workDirectory
        self.progress = progress
    }

    /// Streams the trees as one tar archive; several platforms get a directory each.
    package func exportTar(_ input: ExportInput, to sink: any ByteSink) async throws -> [String: String] {
        progress("sending tarball", "", 0, 0, false)
        try await withViews(input) { views in
            for view in views {
                let writer = TreeArchive(root: view.path, prefix: view.directory)
                try await writer.write(to: sink)
            }
        }
        try await sink.write(TarHeader.end)
        progress("sending tarball", "", 0, 0, true)
        return input.responseMetadata
    }

    /// Lends `body` a directory that holds the trees, for as long as it runs; several platforms get a directory each.
    package func withDirectory<Result: Sendable>(
        _ input: ExportInput, _ body: @Sendable (_ path: String) async throws -> Result
    ) async throws -> Result {
        try await withViews(input) { views in
            if views.count == 1, views[0].directory.isEmpty { return try await body(views[0].path) }
            let stage = workDirectory + "/export-" + UUID().uuidString
            try FileManager.default.createDirectory(atPath: stage, withIntermediateDirectories: true)
            var mounted: [String] = []
            defer {
                for path in mounted.reversed() {
                    umount2(path, CInt(MNT_DETACH))
                    rmdir(path)
                }
                rmdir(stage)
            }
            for view in views {
                let path = stage + "/" + view.directory
                try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
                guard mount(view.path, path, nil, UInt(MS_BIND), nil) == 0 else {
                    let reason = String(cString: strerror(errno))
                    rmdir(path)
                    throw ExportError.file(view.directory, "it cannot be mounted for sending: \(reason)")
                }
                mounted.append(path)
            }
            return try await body(stage)
        }
    }

    /// One platform's tree and the directory that it goes to; empty is the root of the export.
    private struct View: Sendable {
        var directory: String
        var path: String
    }

    private func withViews<Result: Sendable>(
        _ input: ExportInput, _ body: @Sendable ([View]) async throws -> Result
    ) async throws -> Result {
        let isSplit = try input.flag("platform-split", default: input.items.count > 1)
        guard isSplit || input.items.count <= 1 else {
            throw ExportError.unsupported(
                "platform-split=false needs a result for one platform; this one has \(input.items.count)")
        }
        var held: [ViewSnapshot] = []
        defer { for view in held { view.release() } }
        var views: [View] = []
        for item in input.items {
            let view = try snapshots.view(of: item.chain)
            held.append(view)
            let name = isSplit ? item.platform.description.replacing("/", with: "_") : ""
            views.append(View(directory: name, path: view.path))
        }
        return try await body(views)
    }
}
