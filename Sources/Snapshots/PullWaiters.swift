internal import Synchronization

/// Those who wait for a pull of a layer that someone else has started.
struct PullWaiters {
    /// Resumed with whether the layer has come.
    var waiting: [UInt64: CheckedContinuation<Bool, Never>] = [:]
}
