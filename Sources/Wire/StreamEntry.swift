internal import ClusterModel

/// A stream of this node: which link it is on, and the tasks that wait for it.
///
/// Lives on the loop's thread.
struct StreamEntry {
    let link: Link
    /// The stream's number on the link.
    let id: UInt32
    let service: String
    let priority: StreamPriority
    var reader: (ticket: UInt64, continuation: CheckedContinuation<Void, any Error>)?
    var writers: [(ticket: UInt64, continuation: CheckedContinuation<Void, any Error>)] = []

    /// Wakes the reader.
    mutating func wakeReader() {
        reader?.continuation.resume()
        reader = nil
    }

    /// Wakes all writers; each looks for room again.
    mutating func wakeWriters() {
        let woken = writers
        writers = []
        for writer in woken { writer.continuation.resume() }
    }
}
