/// An image configuration (OCI image-spec, "Image Configuration") with Docker's additions.
package struct ImageConfig: Hashable, Sendable, Codable {
    package var created: String?
    package var author: String?
    package var architecture: String
    package var variant: String?
    package var os: String
    package var osVersion: String?
    package var osFeatures: [String]?
    package var config: RunConfig
    package var rootfs: RootFilesystem
    package var history: [History]?

    package enum CodingKeys: String, CodingKey {
        case created, author, architecture, variant, os, config, rootfs, history
        case osVersion = "os.version"
        case osFeatures = "os.features"
    }

    package init(platform: Platform) {
        architecture = platform.architecture
        variant = platform.variant
        os = platform.os
        config = RunConfig()
        rootfs = RootFilesystem(diffIDs: [])
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        created = try values.decodeIfPresent(String.self, forKey: .created)
        author = try values.decodeIfPresent(String.self, forKey: .author)
        architecture = try values.decodeIfPresent(String.self, forKey: .architecture) ?? ""
        variant = try values.decodeIfPresent(String.self, forKey: .variant)
        os = try values.decodeIfPresent(String.self, forKey: .os) ?? ""
        osVersion = try values.decodeIfPresent(String.self, forKey: .osVersion)
        osFeatures = try values.decodeIfPresent([String].self, forKey: .osFeatures)
        config = try values.decodeIfPresent(RunConfig.self, forKey: .config) ?? RunConfig()
        rootfs = try values.decodeIfPresent(RootFilesystem.self, forKey: .rootfs) ?? RootFilesystem(diffIDs: [])
        history = try values.decodeIfPresent([History].self, forKey: .history)
    }

    /// The platform that the image is made for.
    package var platform: Platform {
        Platform(os: os.isEmpty ? "linux" : os, architecture: architecture, variant: variant)
    }

    /// How a container of the image is run; the key names are Docker's.
    package struct RunConfig: Hashable, Sendable, Codable {
        package var user: String?
        package var exposedPorts: [String: Empty]?
        package var env: [String]?
        package var entrypoint: [String]?
        package var cmd: [String]?
        package var volumes: [String: Empty]?
        package var workingDir: String?
        package var labels: [String: String]?
        package var stopSignal: String?
        /// Seconds that a container has to stop by itself.
        package var stopTimeout: Int?
        package var argsEscaped: Bool?
        package var healthcheck: Healthcheck?
        package var onBuild: [String]?
        package var shell: [String]?

        package enum CodingKeys: String, CodingKey {
            case user = "User"
            case exposedPorts = "ExposedPorts"
            case env = "Env"
            case entrypoint = "Entrypoint"
            case cmd = "Cmd"
            case volumes = "Volumes"
            case workingDir = "WorkingDir"
            case labels = "Labels"
            case stopSignal = "StopSignal"
            case stopTimeout = "StopTimeout"
            case argsEscaped = "ArgsEscaped"
            case healthcheck = "Healthcheck"
            case onBuild = "OnBuild"
            case shell = "Shell"
        }

        package init() {}
    }

    /// Docker's HEALTHCHECK; durations are nanoseconds.
    package struct Healthcheck: Hashable, Sendable, Codable {
        package var test: [String]?
        package var interval: Int64?
        package var timeout: Int64?
        package var startPeriod: Int64?
        package var startInterval: Int64?
        package var retries: Int?

        package enum CodingKeys: String, CodingKey {
            case test = "Test"
            case interval = "Interval"
            case timeout = "Timeout"
            case startPeriod = "StartPeriod"
            case startInterval = "StartInterval"
            case retries = "Retries"
        }

        package init(test: [String]) { self.test = test }
    }

    /// The layers' digests when uncompressed, lowest first.
    package struct RootFilesystem: Hashable, Sendable, Codable {
        package var type: String
        package var diffIDs: [Digest]

        package enum CodingKeys: String, CodingKey {
            case type
            case diffIDs = "diff_ids"
        }

        package init(diffIDs: [Digest]) {
            type = "layers"
            self.diffIDs = diffIDs
        }

        package init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            type = try values.decodeIfPresent(String.self, forKey: .type) ?? "layers"
            diffIDs = try values.decodeIfPresent([Digest].self, forKey: .diffIDs) ?? []
        }
    }

    /// One instruction of an image's past.
    package struct History: Hashable, Sendable, Codable {
        package var created: String?
        package var createdBy: String?
        package var author: String?
        package var comment: String?
        package var emptyLayer: Bool?

        package enum CodingKeys: String, CodingKey {
            case created, author, comment
            case createdBy = "created_by"
            case emptyLayer = "empty_layer"
        }

        package init(created: String? = nil, createdBy: String, comment: String? = nil, emptyLayer: Bool? = nil) {
            self.created = created
            self.createdBy = createdBy
            self.comment = comment
            self.emptyLayer = emptyLayer
        }
    }

    /// The empty JSON object, which Docker uses as the value of its sets.
    package struct Empty: Hashable, Sendable, Codable {
        package init() {}
    }
}
