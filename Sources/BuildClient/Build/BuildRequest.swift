internal import Foundation

/// One build as a client submits it.
package struct BuildRequest: Sendable {
    /// Such as `dockerfile.v0`.
    package var frontend = "dockerfile.v0"
    /// Frontend options as BuildKit names them, such as `filename` and `build-arg:NAME`.
    package var attributes: [String: String] = [:]
    /// Directories that the node may read, by the name of their local source.
    package var directories: [String: String] = [:]
    package var exporters: [Exporter] = []
    package var cacheImports: [CacheOption] = []
    package var cacheExports: [CacheOption] = []
    package var entitlements: [String] = []
    package var secrets: [String: SecretSource] = [:]
    /// Sockets of SSH agents by id.
    package var sshAgents: [String: String] = [:]
    /// OCI layout directories by content store id, without its prefix `oci:`.
    package var layouts: [String: String] = [:]
    /// Bodies that the node fetches as `http://buildkit-session/ID`, by path `/ID`.
    package var uploads: [String: [UInt8]] = [:]
    /// Tells contexts of different directories apart that have the same name.
    package var sharedKey = ""
    package var credentials = DockerConfig()
    /// No history is kept of it.
    package var isInternal = false

    package init() {}

    /// One `--output`.
    package struct Exporter: Sendable, Hashable {
        /// As the node knows it: `image`, `oci`, `docker`, `tar` or `local`.
        package var type: String
        package var attributes: [String: String]
        package var target: Target

        package init(type: String, attributes: [String: String] = [:], target: Target = .none) {
            self.type = type
            self.attributes = attributes
            self.target = target
        }
    }

    /// Where an exporter's bytes go on this side.
    package enum Target: Sendable, Hashable {
        /// Nothing comes back.
        case none
        case standardOutput
        case file(String)
        case directory(String)
        /// `docker load` of the Docker engine on this machine.
        case dockerEngine
    }

    /// One `--cache-from` or `--cache-to`.
    package struct CacheOption: Sendable, Hashable {
        package var type: String
        package var attributes: [String: String]

        package init(type: String, attributes: [String: String]) {
            self.type = type
            self.attributes = attributes
        }
    }

    package enum SecretSource: Sendable, Hashable {
        case file(String)
        case environment(String)
    }
}
