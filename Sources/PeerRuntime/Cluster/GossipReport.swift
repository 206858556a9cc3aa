internal import CacheMap
internal import Gossip
internal import Wire

/// All counters of gossip under one set of names: what `status --format json` shows below `gossip`.
struct GossipReport {
    private(set) var counters: [String: UInt64] = [:]

    /// What a node's shells have counted beside the protocols.
    struct Shells {
        var localHealth = 0
        var keyExchanges: (made: UInt64, failed: UInt64) = (0, 0)
        var clockJumps: UInt64 = 0
        /// Word of the cluster that the rest of the node had no room for.
        var newsDropped: UInt64 = 0
        var seedsUnresolved: UInt64 = 0
        /// Messages of multicast DNS that are none; 0 without it.
        var discoveriesMalformed: UInt64 = 0
        /// Live peers whose digest is further than this node knows it.
        var digestsBehind = 0
    }

    init(gossip: GossipCounters, links: LinkCounters, map: MapCounters, shells: Shells) {
        add(links)
        add("keys", ["ringsExchanged": shells.keyExchanges.made, "ringsFailed": shells.keyExchanges.failed])
        counters["localHealth"] = UInt64(max(0, shells.localHealth))
        counters["clockJumps"] = shells.clockJumps
        counters["newsDropped"] = shells.newsDropped
        counters["seedsUnresolved"] = shells.seedsUnresolved
        counters["mdns.malformed"] = shells.discoveriesMalformed
        add(gossip)
        add(map)
        counters["cacheMap.digestsBehind"] = UInt64(shells.digestsBehind)
    }

    private mutating func add(_ links: LinkCounters) {
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
                "handshakesWithWrongKey": links.handshakesWithWrongKey,
                "handshakesTimedOut": links.handshakesTimedOut, "broken": links.linksBroken,
                "damaged": links.linksDamaged, "violated": links.linksViolated, "silent": links.linksSilent,
                "recordsIn": links.recordsIn, "recordsOut": links.recordsOut, "rekeys": links.rekeys,
                "streams": UInt64(links.openStreams), "servesDelayed": links.servesDelayed,
                "rateLimited": links.rateLimited,
            ])
        for (name, service) in links.services {
            add(
                "links.services.\(name)",
                [
                    "bytesIn": service.bytesIn, "bytesOut": service.bytesOut, "opened": service.streamsOpened,
                    "accepted": service.streamsAccepted,
                ])
        }
    }

    private mutating func add(_ map: MapCounters) {
        add(
            "cacheMap",
            [
                "deltasPublished": map.deltasPublished, "deltasReceived": map.deltasReceived, "gaps": map.gaps,
                "rootDifferences": map.rootDifferences, "fetches": map.fetches, "fetchesFailed": map.fetchesFailed,
                "wholeDigests": map.wholeDigests, "malformed": map.malformed, "refused": map.refused,
                "damaged": map.damaged, "unreliable": map.unreliable,
            ])
    }

    private mutating func add(_ gossip: GossipCounters) {
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
        counters["stalls"] = gossip.stalls
        counters["seedLookUps"] = gossip.seedLookUps
        counters["bootsTaken"] = gossip.bootsTaken
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
