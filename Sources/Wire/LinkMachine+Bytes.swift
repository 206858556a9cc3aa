internal import UVLoop

/// A machine that is driven in one place, without blocks lent to a socket and without cipher threads.
///
/// For connections that end with their handshake, and for whoever gives a machine bytes of any kind.
extension LinkMachine {
    /// Takes bytes as a socket would bring them, and all steps that follow.
    ///
    /// - Throws: as `next` and `opened`; the link is over then.
    mutating func receive(_ bytes: [UInt8]) throws -> [Event] {
        var events: [Event] = []
        var rest = bytes[...]
        repeat {
            if !isInboundFull, !rest.isEmpty {
                let room = room()
                let count = min(room.count, rest.count)
                rest.prefix(count).withUnsafeBufferPointer { source in
                    if let start = source.baseAddress { room.start.update(from: start, count: count) }
                }
                filled(count)
                rest = rest.dropFirst(count)
            }
            events += try step()
        } while !rest.isEmpty
        return events
    }

    private mutating func step() throws -> [Event] {
        var events: [Event] = []
        while true {
            switch try next() {
            case .waiting: return events
            case .events(let more):
                // A step of the handshake that says nothing yet is a step all the same.
                events += more
            case .open(let batch):
                batch.open()
                events += try opened(batch)
            }
        }
    }
}
