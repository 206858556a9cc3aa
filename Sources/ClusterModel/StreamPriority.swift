/// Whose turn it is when streams share a link; the lower number goes first.
///
/// The numbers are on the wire.
package enum StreamPriority: UInt8, Sendable, CaseIterable {
    /// Questions, claims, orders, logs: short, and somebody waits.
    case control = 0
    /// Content that a step waits for.
    case pull = 1
    /// Content that will be wanted later.
    case prefetch = 2

    /// Whether streams of this priority move much, so that rate limits and the cap of served streams count them.
    package var isBulk: Bool { self != .control }
}
