/// What a node's membership has done and met since its start; read by `status`.
package struct GossipCounters: Hashable, Sendable, Codable {
    /// Probes of any purpose that began, and those that ended without an answer.
    package var probes: UInt64 = 0
    package var probesFailed: UInt64 = 0
    /// Probes that only a relay or only a stream answered.
    package var probesRelayed: UInt64 = 0
    package var probesByStream: UInt64 = 0
    /// Private accusations of this node, and those that a confirmer or the accused put aside.
    package var accusations: UInt64 = 0
    package var accusationsCleared: UInt64 = 0
    /// Members that became suspect, refuted, dead, and alive again here.
    package var suspicions: UInt64 = 0
    package var refutations: UInt64 = 0
    package var deaths: UInt64 = 0
    package var returns: UInt64 = 0
    /// Times that this node had to refute an accusation of itself.
    package var ownRefutations: UInt64 = 0
    /// Times that this node's own loop was late.
    package var stalls: UInt64 = 0
    package var seedLookUps: UInt64 = 0
    /// Times that this node took its place back from a copy of itself, under a higher boot id.
    package var bootsTaken: UInt64 = 0
    package var antiEntropy = AntiEntropyRounds()
    package var received = Datagrams()
    package var sent = Datagrams()
    package var sentBytes = Classes()
    package var dropped = Drops()

    package init() {}

    package struct Datagrams: Hashable, Sendable, Codable {
        package var datagrams: UInt64 = 0
        /// Plaintext bytes.
        package var bytes: UInt64 = 0
        package init() {}
    }

    /// Differences of two tables, by the way in which they were mended.
    package struct AntiEntropyRounds: Hashable, Sendable, Codable {
        package var differencesSeen: UInt64 = 0
        package var byDatagrams: UInt64 = 0
        package var byStream: UInt64 = 0
        package var mapRootDifferences: UInt64 = 0
        package init() {}
    }

    /// Plaintext bytes by what they were for.
    package struct Classes: Hashable, Sendable, Codable {
        package var probing: UInt64 = 0
        package var membership: UInt64 = 0
        package var load: UInt64 = 0
        package var user: UInt64 = 0
        package var repair: UInt64 = 0
        package var direct: UInt64 = 0
        package init() {}
    }

    /// What was not used or not sent, by cause.
    package struct Drops: Hashable, Sendable, Codable {
        /// Datagrams and state messages that no member writes.
        package var malformed: UInt64 = 0
        /// Of a boot before the one that is known.
        package var oldBoot: UInt64 = 0
        /// Under this node's own identity.
        package var ownIdentity: UInt64 = 0
        /// Questions beyond the number that one datagram may ask.
        package var questions: UInt64 = 0
        /// Relays asked for beyond the number that may be under way.
        package var relays: UInt64 = 0
        /// Members beyond the size of the table.
        package var members: UInt64 = 0
        /// Own or passed-on records that the full queue pushed out.
        package var userRecords: UInt64 = 0
        /// Records that fit no packet of this node.
        package var tooLong: UInt64 = 0
        /// Datagrams that the token bucket held back.
        package var heldBack: UInt64 = 0
        /// Direct datagrams to members that are not up.
        package var directs: UInt64 = 0
        /// Datagrams that the kernel refused.
        package var sendsFailed: UInt64 = 0
        package init() {}
    }
}
