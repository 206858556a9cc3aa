internal import BuildKitProtocol
internal import PeerRuntime
internal import SwiftProtobuf

/// What a node keeps, in BuildKit's usage records.
enum UsageMessage {
    static func record(_ usage: CacheUsage) -> Moby_Buildkit_V1_UsageRecord {
        .with {
            $0.id = usage.id
            $0.mutable = usage.isMutable
            $0.inUse = usage.isInUse
            $0.size = usage.size
            $0.createdAt = StatusMessage.timestamp(usage.created)
            if let lastUsed = usage.lastUsed { $0.lastUsedAt = StatusMessage.timestamp(lastUsed) }
            $0.usageCount = usage.useCount
            $0.description_p = usage.text
            $0.recordType = usage.kind
            $0.shared = usage.isShared
            $0.parents = usage.parents
        }
    }
}
