internal import ClusterModel
internal import Glibc

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
    /// Whether ciphers get threads of their own by default: not on few cores, which readers and writers need as well.
    ///
    /// On two cores, with both ends on them, handing over cost a quarter of the rate (docs/transfer.md, "Peer link").
    package static let usesCipherThreads = sysconf(Int32(_SC_NPROCESSORS_ONLN)) >= 4
    /// Links altogether: two nodes need one, for a moment two.
    package static let linksMax = 4_096
    /// Streams that one side of a link may have open.
    package static let streamsMax = 1_024
    package static let serviceNameBytesMax = 64
    /// Services that are counted apart; further names are counted as "other".
    package static let countedServicesMax = 64
    /// Longest text of a record: one long frame and its header.
    ///
    /// Longer ones were no faster, and everything in a record waits until all of it is there.
    static let recordTextBytesMax = (64 << 10) + 64
    /// Longest data in a frame.
    ///
    /// Streams take turns by frames: at 1 Gb/s one lasts 0.5 ms.
    static let frameDataBytesMax = 64 << 10
    /// A frame is not cut shorter than this for want of room or credit.
    static let shortFrameBytes = 4 << 10
    /// What a frame costs of the window beside its data, so that empty messages are bounded too.
    static let frameCost = 32
    /// Size of the blocks that bytes pass through: four records.
    ///
    /// It fits a core's cache, and at 1 Gb/s a small request waits 2 ms at most behind one that is being sealed.
    static let blockBytes = 4 * (recordTextBytesMax + RecordCipher.overhead)
    /// Blocks that are kept for later use: 4 MiB.
    static let keptBlocksMax = 16
    /// Bytes of records that are opened in one go.
    static let batchBytesMax = blockBytes
    /// Less is sealed and opened on the loop's thread: handing it over would take longer.
    static let offloadedBytesMin = 32 << 10
    /// What a link holds for readers, all its streams together.
    ///
    /// Sixteen pulls at their full windows and as much again; a peer that sends more without being read is cut off.
    static let linkBufferBytes = 64 << 20
    /// Streams of content that are served at once unless the node says otherwise: what waits for a registry's blob here
    /// counts as well.
    package static let servedBulkMax = 32
    /// Credit that a receiver gives: more than the cost of one longest message, so that one always fits.
    static let windowBytes = 2 << 20
    /// Bytes of a stream that wait to be framed before `send` waits.
    static let sendBufferBytes = 256 << 10
    /// Sealed bytes that wait for the kernel before no more are sealed.
    static let unsentBytesMax = 256 << 10
    /// Resets owed to the peer; more are an attack.
    static let owedResetsMax = 4_096
    /// Bytes after which a direction takes its next key.
    static let rekeyBytes = 1 << 30
    /// Records after which a direction takes its next key: far below where AES-GCM's margin thins (SP 800-38D §8.3).
    static let rekeyRecords: UInt64 = 1 << 24
    /// What a packet is padded to for a member that has been silent for long: room for the answer of one that was restarted.
    ///
    /// The dead are tried for a day, so that full packets would be most of what a small cluster sends.
    static let silentPacketBytes = 256
    /// Peers whose newest boot id is known; with more, those without a link are forgotten.
    static let bootsMax = 16_384
    /// Datagrams of earlier boots may be replays: so seldom is one of them answered at most.
    static let staleAnswerInterval = Duration.seconds(1)
    /// A pending handshake gives way to a new one after this, when too many are pending.
    static let patienceWithStrangers = Duration.milliseconds(500)
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
    /// A stream that waits to be served is told so this often: several times in what a puller takes for silence.
    package var waitingPulse: Duration = .seconds(1)

    package init() {}

    /// How often links are looked at.
    var tick: Duration { max(.milliseconds(20), min(handshake, idle, ping, silence) / 5) }
}
