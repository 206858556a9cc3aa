internal import ClusterModel

/// Bounds of the peer plane: what a peer can make this node hold or do.
package enum WireLimits {
    /// Longest plaintext of a datagram: a jumbo frame without headers and seal.
    package static let datagramBytesMax = 8_900
    /// Datagrams that wait for their reader; older ones are dropped first, as gossip repeats itself.
    package static let inboxDatagramsMax = 1_024
    /// Senders whose replay windows are kept; the longest silent is forgotten first.
    package static let replaySendersMax = 4_096
    /// Sources for which a warning is remembered, so that it is given once.
    package static let loggedSourcesMax = 1_024
    /// Inbound connections that have not proved themselves.
    package static let pendingHandshakesMax = 64
    /// Links altogether: two nodes need one, for a moment two.
    package static let linksMax = 4_096
    /// Streams that one side of a link may have open.
    package static let streamsMax = 1_024
    package static let serviceNameBytesMax = 64
    /// Services that are counted apart; further names are counted as "other".
    package static let countedServicesMax = 64
    /// Longest ciphertext of a record: what two bytes of length can say.
    static let recordBytesMax = 65_535
    /// Longest data in a frame.
    ///
    /// Small, so that streams take turns: at 1 Gb/s one frame lasts 0.13 ms.
    static let frameDataBytesMax = 16 << 10
    /// What a frame costs of the window beside its data, so that empty messages are bounded too.
    static let frameCost = 32
    /// Credit that a receiver gives: more than the cost of one longest message, so that one always fits.
    static let windowBytes = 2 << 20
    /// Bytes of a stream that wait to be framed before `send` waits.
    static let sendBufferBytes = 256 << 10
    /// Sealed bytes that wait for the kernel before no more are sealed.
    static let unsentBytesMax = 256 << 10
    /// Resets owed to the peer; more are an attack.
    static let owedResetsMax = 4_096
    /// Sealed bytes after which a direction takes its next key.
    static let rekeyBytes = 1 << 30
}

/// Time limits of links; tests use shorter ones.
package struct LinkTimes: Sendable, Hashable {
    /// From the connection's start until both sides have proved themselves.
    package var handshake: Duration = .seconds(5)
    /// A link without streams is closed after this.
    package var idle: Duration = .seconds(60)
    /// A link that heard nothing for this long asks.
    package var ping: Duration = .seconds(5)
    /// A link that heard nothing for this long, and has asked, is broken.
    package var silence: Duration = .seconds(15)

    package init() {}

    /// How often links are looked at.
    var tick: Duration { max(.milliseconds(20), min(handshake, idle, ping, silence) / 5) }
}
