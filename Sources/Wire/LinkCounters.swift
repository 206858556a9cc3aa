/// What the peer plane has done since its start.
package struct LinkCounters: Sendable, Hashable {
    /// Bytes of messages, without framing and sealing.
    package struct Service: Sendable, Hashable {
        package var bytesIn: UInt64 = 0
        package var bytesOut: UInt64 = 0
        package var streamsOpened: UInt64 = 0
        package var streamsAccepted: UInt64 = 0

        package init(
            bytesIn: UInt64 = 0, bytesOut: UInt64 = 0, streamsOpened: UInt64 = 0, streamsAccepted: UInt64 = 0
        ) {
            self.bytesIn = bytesIn
            self.bytesOut = bytesOut
            self.streamsOpened = streamsOpened
            self.streamsAccepted = streamsAccepted
        }
    }

    package var services: [String: Service] = [:]
    package var datagramsIn: UInt64 = 0
    package var datagramsOut: UInt64 = 0
    /// Bytes of sealed datagrams.
    package var datagramBytesIn: UInt64 = 0
    package var datagramBytesOut: UInt64 = 0
    /// Datagrams that went no further, by cause.
    package var datagramDrops: [DatagramDrop: UInt64] = [:]
    /// Taken, but sealed with a key in its grace.
    package var datagramsUnderRetiredKey: UInt64 = 0
    /// The kernel did not take them.
    package var datagramsUnsent: UInt64 = 0
    package var handshakesCompleted: UInt64 = 0
    package var handshakesFailed: UInt64 = 0
    /// Connections closed because too many were pending.
    package var handshakesRefused: UInt64 = 0
    package var linksBroken: UInt64 = 0
    /// Now.
    package var links = 0
    package var openStreams = 0

    package func dropped(_ cause: DatagramDrop) -> UInt64 { datagramDrops[cause] ?? 0 }

    mutating func drop(_ cause: DatagramDrop) { datagramDrops[cause, default: 0] += 1 }

    mutating func count(service name: String, _ change: (inout Service) -> Void) {
        let isKnown = services[name] != nil || services.count < WireLimits.countedServicesMax
        change(&services[isKnown ? name : "other", default: Service()])
    }
}
