internal import Foundation
internal import Testing

/// Tests with real nodes as processes; they need root, crun and network namespaces.
///
/// They run one after the other: they count processes, mounts and bytes of a machine.
@Suite(
    .serialized,
    .enabled(
        if: ProcessInfo.processInfo.environment["PEERBUILD_E2E"] == "1",
        "end-to-end tests start real nodes as root; set PEERBUILD_E2E=1 to run them"),
    .timeLimit(.minutes(isFullSize ? 30 : 4)))
struct EndToEnd {}

/// Whether tests run at the size that takes minutes in a debug build.
let isFullSize = ProcessInfo.processInfo.environment["PEERBUILD_E2E_FULL"] != nil

/// A condition of the outside world that did not come about in time, or a tool that failed.
struct HarnessFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Asks again and again until the answer is there.
///
/// Throws `HarnessFailure` when it is not within `seconds`; `state` says what there was instead.
func eventually<T>(
    _ what: String, within seconds: Double = 60, state: () async -> String = { "" }, _ answer: () async throws -> T?
) async throws -> T {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while true {
        if let value = try await answer() { return value }
        guard ContinuousClock.now < deadline else {
            throw HarnessFailure("\(what): not within \(seconds) s. \(await state())")
        }
        try await Task.sleep(for: .milliseconds(25))
    }
}

/// As `eventually`, for a yes.
func eventually(
    _ what: String, within seconds: Double = 60, state: () async -> String = { "" }, isTrue: () async throws -> Bool
) async throws {
    let _: Bool = try await eventually(what, within: seconds, state: state) { try await isTrue() ? true : nil }
}
