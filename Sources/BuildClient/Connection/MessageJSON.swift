package import BuildKitProtocol
internal import SwiftProtobuf

extension Peerbuild_V1_ExplainResponse {
    /// One line of protobuf's JSON form.
    package func jsonText() throws -> String { try jsonString() }
}

extension Moby_Buildkit_V1_UsageRecord {
    /// One line of protobuf's JSON form.
    package func jsonText() throws -> String { try jsonString() }
}
