package import BuildKitProtocol
internal import GRPCCore

/// Why a call that is no build failed, in the node's words.
package struct CallFailure: Error, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// The calls that administrate; each throws `CallFailure`.
extension NodeConnection {
    package func clusterStatus() async throws -> Peerbuild_V1_StatusResponse {
        try await call("status") { try await cluster.status(Peerbuild_V1_StatusRequest(), options: Self.options) }
    }

    /// Explains a build, or the last one without a reference.
    package func explain(_ reference: String?) async throws -> Peerbuild_V1_ExplainResponse {
        var request = Peerbuild_V1_ExplainRequest()
        request.ref = reference ?? ""
        return try await call("explain") { [request] in try await cluster.explain(request, options: Self.options) }
    }

    package func drain(node: String, _ isDraining: Bool) async throws {
        var request = Peerbuild_V1_DrainRequest()
        request.node = node
        request.drain = isDraining
        _ = try await call("drain") { [request] in try await cluster.drain(request, options: Self.options) }
    }

    package func leave() async throws {
        _ = try await call("leave") { try await cluster.leave(Peerbuild_V1_LeaveRequest(), options: Self.options) }
    }

    /// Shows or changes the cluster keys; `key` is what the action is about.
    package func keys(_ action: Peerbuild_V1_KeysRequest.Action, _ key: String) async throws -> [Peerbuild_V1_Key] {
        var request = Peerbuild_V1_KeysRequest()
        request.action = action
        request.key = key
        return try await call("keys") { [request] in
            // Longer than others: the answer comes when all members have the change.
            var options = Self.options
            options.timeout = .seconds(120)
            return try await cluster.keys(request, options: options).keys
        }
    }

    package func diskUsage(filter: [String]) async throws -> [Moby_Buildkit_V1_UsageRecord] {
        var request = Moby_Buildkit_V1_DiskUsageRequest()
        request.filter = filter
        return try await call("du") { [request] in
            try await control.diskUsage(request, options: Self.options).record
        }
    }

    /// Removes cache; `removed` is told each record that went.
    package func prune(
        _ request: Moby_Buildkit_V1_PruneRequest, removed: @escaping @Sendable (Moby_Buildkit_V1_UsageRecord) -> Void
    ) async throws {
        try await call("prune") {
            try await control.prune(request, options: Self.options) { response in
                for try await record in response.messages { removed(record) }
            }
        }
    }

    /// The version of what answers.
    package func serverVersion() async throws -> String {
        try await call("version") {
            let version = try await control.info(Moby_Buildkit_V1_InfoRequest(), options: Self.options).buildkitVersion
            return "\(version.package) \(version.version)"
        }
    }

    private func call<Result: Sendable>(_ name: String, _ body: () async throws -> Result) async throws -> Result {
        do {
            return try await body()
        } catch let error as RPCError {
            guard error.code != .unimplemented else {
                throw CallFailure("\(address) does not know `\(name)`; is it a PeerBuild node?")
            }
            throw CallFailure("\(name) failed at \(address): \(error.message)")
        }
    }
}
