internal import Gossip
internal import Wire

/// All counters of gossip under one set of names: what `status --format json` shows below `gossip`.
struct GossipReport {
    private(set) var counters: [String: UInt64] = [:]

    init(gossip: GossipCounters, links: LinkCounters, localHealth: Int, keyExchanges: (made: UInt64, failed: UInt64)) {
        add(
            "datagrams",
            [
                "in": links.datagramsIn, "out": links.datagramsOut, "bytesIn": links.datagramBytesIn,
                "bytesOut": links.datagramBytesOut, "unsent": links.datagramsUnsent,
                "underRetiredKey": links.datagramsUnderRetiredKey,
            ])
        for cause in DatagramDrop.allCases { counters["datagrams.dropped.\(cause.rawValue)"] = links.dropped(cause) }
        add(
            "links",
            [
                "now": UInt64(links.links), "handshakesCompleted": links.handshakesCompleted,
                "handshakesFailed": links.handshakesFailed, "handshakesRefused": links.handshakesRefused,
                "broken": links.linksBroken,
            ])
        add("keys", ["ringsExchanged": keyExchanges.made, "ringsFailed": keyExchanges.failed])
        add(
            "probes",
            [
                "begun": gossip.probes, "failed": gossip.probesFailed, "relayed": gossip.probesRelayed,
                "byStream": gossip.probesByStream,
            ])
        add(
            "members",
            [
                "accusations": gossip.accusations, "accusationsCleared": gossip.accusationsCleared,
                "suspicions": gossip.suspicions, "refutations": gossip.refutations, "deaths": gossip.deaths,
                "returns": gossip.returns, "ownRefutations": gossip.ownRefutations,
            ])
        counters["localHealth"] = UInt64(max(0, localHealth))
        counters["stalls"] = gossip.stalls
        counters["seedLookUps"] = gossip.seedLookUps
        add(
            "antiEntropy",
            [
                "differencesSeen": gossip.antiEntropy.differencesSeen, "byDatagrams": gossip.antiEntropy.byDatagrams,
                "byStream": gossip.antiEntropy.byStream, "mapRootDifferences": gossip.antiEntropy.mapRootDifferences,
            ])
        add("received", ["datagrams": gossip.received.datagrams, "bytes": gossip.received.bytes])
        add("sent", ["datagrams": gossip.sent.datagrams, "bytes": gossip.sent.bytes])
        let classes = gossip.sentBytes
        add(
            "sent.bytesOf",
            [
                "probing": classes.probing, "membership": classes.membership, "load": classes.load,
                "user": classes.user, "repair": classes.repair, "direct": classes.direct,
            ])
        let drops = gossip.dropped
        add(
            "dropped",
            [
                "malformed": drops.malformed, "oldBoot": drops.oldBoot, "ownIdentity": drops.ownIdentity,
                "questions": drops.questions, "relays": drops.relays, "members": drops.members,
                "userRecords": drops.userRecords, "tooLong": drops.tooLong, "heldBack": drops.heldBack,
                "directs": drops.directs, "sendsFailed": drops.sendsFailed,
            ])
    }

    private mutating func add(_ level: String, _ values: [String: UInt64]) {
        for (name, value) in values { counters["\(level).\(name)"] = value }
    }
}
