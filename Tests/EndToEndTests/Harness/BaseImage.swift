internal import Foundation

/// An image of busybox as an OCI layout, as the project's script makes it.
struct BaseImage: Sendable {
    let directory: String

    /// For `--build-context`.
    var argument: String { "base=oci-layout://\(directory):latest" }

    static func make(in workspace: Workspace) async throws -> BaseImage {
        let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().path
        let directory = workspace.path + "/base"
        try await workspace.check([repository + "/scripts/make-base-image", directory])
        return BaseImage(directory: directory)
    }
}
