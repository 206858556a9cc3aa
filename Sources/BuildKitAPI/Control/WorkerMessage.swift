internal import BuildKitProtocol
internal import LLB
internal import OCI
internal import PeerRuntime
internal import SwiftProtobuf

/// A node in BuildKit's worker records.
enum WorkerMessage {
    /// Platforms are what builds are made for; clients take the first one as their default and need at least one.
    static func record(_ worker: WorkerDescription) -> Moby_Buildkit_V1_Types_WorkerRecord {
        .with {
            $0.id = worker.id
            $0.labels = worker.labels
            $0.platforms = worker.platforms.map(platform)
            $0.buildkitVersion = version(worker)
        }
    }

    static func version(_ worker: WorkerDescription) -> Moby_Buildkit_V1_Types_BuildkitVersion {
        .with {
            $0.package = "peerbuild"
            $0.version = worker.version
        }
    }

    static func platform(_ platform: Platform) -> Pb_Platform {
        .with {
            $0.os = platform.os
            $0.architecture = platform.architecture
            $0.variant = platform.variant ?? ""
            $0.osversion = platform.osVersion ?? ""
            $0.osfeatures = platform.osFeatures ?? []
        }
    }

    static func platform(_ message: Pb_Platform) -> Platform {
        var platform = Platform(
            os: message.os, architecture: message.architecture,
            variant: message.variant.isEmpty ? nil : message.variant)
        platform.osVersion = message.osversion.isEmpty ? nil : message.osversion
        platform.osFeatures = message.osfeatures.isEmpty ? nil : message.osfeatures
        return platform
    }
}
