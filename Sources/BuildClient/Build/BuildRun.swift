internal import BuildKitProtocol
internal import Foundation
internal import GRPCCore
internal import SwiftProtobuf

/// Runs one build on a node in BuildKit's gateway flow, as `buildctl` and `buildx` do.
///
/// Session, status, build and frontend calls run side by side under one random build id. The frontend runs on the node
/// and its result is handed back to the node to be exported.
package struct BuildRun: Sendable {
    /// What came out.
    package struct Outcome: Sendable {
        /// Such as `containerimage.digest`.
        package var exporterResponse: [String: String]
        /// Metadata of the frontend's result, such as `result.json` of a subrequest.
        package var metadata: [String: [UInt8]]
    }

    /// Seconds without an event after which the end of progress is not waited for any longer.
    private static let progressEndSeconds = 5.0
    private static let buildIDKey = "buildkit-controlapi-buildid"
    private static let idLength = 25

    private let connection: NodeConnection
    private let request: BuildRequest
    /// Names this build at the node.
    package let reference: String

    package init(_ request: BuildRequest, on connection: NodeConnection) {
        self.request = request
        self.connection = connection
        reference = Self.randomID()
    }

    /// Runs the build to its end.
    ///
    /// Cancelling the task cancels the build at the node.
    ///
    /// Throws `BuildFailure` when the node says that the build failed.
    package func run(_ report: @escaping @Sendable (ProgressUpdate) async -> Void) async throws -> Outcome {
        let (sessionEnd, endSession) = AsyncStream<Never>.makeStream()
        let sessionID = Self.randomID()
        let contents = SessionContents(request)
        let tunnel = SessionTunnel(
            id: sessionID, sharedKey: request.sharedKey, methods: contents.methods, services: contents.services)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try? await tunnel.run(over: connection, until: sessionEnd) }
            group.addTask { try? await followStatus(report) }
            defer { endSession.finish() }
            do {
                let outcome = try await solve(sessionID)
                endSession.finish()
                await Self.drain(&group)
                return outcome
            } catch {
                endSession.finish()
                await Self.drain(&group)
                if Task.isCancelled { throw CancellationError() }
                guard let error = error as? RPCError else { throw error }
                throw BuildFailure(error)
            }
        }
    }

    /// Waits for the session and the last progress, but not for ever.
    private static func drain(_ group: inout ThrowingTaskGroup<Void, any Error>) async {
        group.addTask {
            try await Task.sleep(for: .seconds(progressEndSeconds))
            throw CancellationError()
        }
        // Session and status end by themselves, the timer by throwing.
        for _ in 0..<2 where (try? await group.next()) == nil { break }
        group.cancelAll()
    }

    private func followStatus(_ report: @Sendable (ProgressUpdate) async -> Void) async throws {
        var message = Moby_Buildkit_V1_StatusRequest()
        message.ref = reference
        try await withoutActuallyEscaping(report) { report in
            try await connection.control.status(message, options: NodeConnection.options) { response in
                for try await update in response.messages { await report(ProgressUpdate(update)) }
            }
        }
    }

    // MARK: The build

    private func solve(_ sessionID: String) async throws -> Outcome {
        var workers = Moby_Buildkit_V1_ListWorkersRequest()
        workers.filter = []
        _ = try await connection.control.listWorkers(workers, options: NodeConnection.options)
        return try await withThrowingTaskGroup(of: Part.self) { group in
            group.addTask { .exported(try await solveCall(sessionID)) }
            group.addTask { .frontend(try await gateway()) }
            var exported: [String: String]?
            var metadata: [String: [UInt8]] = [:]
            var frontendError: (any Error)?
            while exported == nil {
                switch try await group.next() {
                case .exported(let response): exported = response
                case .frontend(.success(let result)): metadata = result
                case .frontend(.failure(let error)): frontendError = error
                case nil: throw frontendError ?? CancellationError()
                }
            }
            group.cancelAll()
            return Outcome(exporterResponse: exported ?? [:], metadata: metadata)
        }
    }

    private enum Part: Sendable {
        case exported([String: String])
        case frontend(Result<[String: [UInt8]], any Error>)
    }

    /// `Control.Solve`: open until everything is exported.
    private func solveCall(_ sessionID: String) async throws -> [String: String] {
        var message = Moby_Buildkit_V1_SolveRequest()
        message.ref = reference
        message.session = sessionID
        message.frontendAttrs = request.attributes
        message.entitlements = request.entitlements
        message.internal = request.isInternal
        message.exporters = request.exporters.map { exporter in
            var entry = Moby_Buildkit_V1_Exporter()
            entry.type = exporter.type
            entry.attrs = exporter.attributes
            return entry
        }
        message.cache.exports = request.cacheExports.map(Self.entry)
        message.cache.imports = request.cacheImports.map(Self.entry)
        return try await connection.control.solve(message, options: NodeConnection.options).exporterResponse
    }

    private static func entry(_ option: BuildRequest.CacheOption) -> Moby_Buildkit_V1_CacheOptionsEntry {
        var entry = Moby_Buildkit_V1_CacheOptionsEntry()
        entry.type = option.type
        entry.attrs = option.attributes
        return entry
    }

    /// The client's half of the gateway: have the frontend run, give its result (or error) back.
    ///
    /// An error of the frontend comes out of `Control.Solve` as well, which is the one to throw.
    private func gateway() async throws -> Result<[String: [UInt8]], any Error> {
        let metadata: Metadata = [Self.buildIDKey: .string(reference)]
        var returned = Moby_Buildkit_V1_Frontend_ReturnRequest()
        let outcome: Result<[String: [UInt8]], any Error>
        do {
            _ = try await connection.bridge.ping(
                Moby_Buildkit_V1_Frontend_PingRequest(), metadata: metadata, options: NodeConnection.options)
            let response = try await connection.bridge.solve(
                frontendRequest(), metadata: metadata, options: NodeConnection.options)
            returned.result = response.result
            outcome = .success(response.result.metadata.mapValues { Array($0) })
        } catch let error as RPCError {
            returned.error = Google_Rpc_Status(error)
            outcome = .failure(error)
        }
        do {
            _ = try await connection.bridge.return(returned, metadata: metadata, options: NodeConnection.options)
        } catch let error as RPCError {
            // The build is over already; Control.Solve says why.
            return .failure(error)
        }
        return outcome
    }

    private func frontendRequest() -> Moby_Buildkit_V1_Frontend_SolveRequest {
        var message = Moby_Buildkit_V1_Frontend_SolveRequest()
        message.frontend = request.frontend
        message.frontendOpt = request.attributes
        message.allowResultReturn = true
        message.allowResultArrayRef = true
        message.cacheImports = request.cacheImports.map { option in
            var entry = Moby_Buildkit_V1_Frontend_CacheOptionsEntry()
            entry.type = option.type
            entry.attrs = option.attributes
            return entry
        }
        return message
    }

    /// 25 characters, as BuildKit's own ids.
    package static func randomID() -> String {
        let characters = Array("0123456789abcdefghijklmnopqrstuvwxyz")
        return String((0..<idLength).map { _ in characters.randomElement() ?? "0" })
    }
}
