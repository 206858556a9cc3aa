internal import ClusterModel
internal import Wire

extension LinksView {
    /// What `status --format json` shows of links; the gossip counters have their datagrams.
    init(_ counters: LinkCounters, _ reports: [LinkReport], name: (PeerID) -> String) {
        self.init()
        for (service, moved) in counters.services {
            self.counters["services.\(service).bytesIn"] = moved.bytesIn
            self.counters["services.\(service).bytesOut"] = moved.bytesOut
            self.counters["services.\(service).streamsOpened"] = moved.streamsOpened
            self.counters["services.\(service).streamsAccepted"] = moved.streamsAccepted
        }
        let plain = [
            "broken": counters.linksBroken, "damaged": counters.linksDamaged, "violated": counters.linksViolated,
            "silent": counters.linksSilent, "recordsIn": counters.recordsIn, "recordsOut": counters.recordsOut,
            "rekeys": counters.rekeys, "servesDelayed": counters.servesDelayed, "rateLimited": counters.rateLimited,
            "now": UInt64(counters.links), "openStreams": UInt64(counters.openStreams),
            "handshakes.completed": counters.handshakesCompleted, "handshakes.failed": counters.handshakesFailed,
            "handshakes.refused": counters.handshakesRefused,
            "handshakes.withWrongKey": counters.handshakesWithWrongKey,
            "handshakes.timedOut": counters.handshakesTimedOut,
        ]
        self.counters.merge(plain) { $1 }
        links = reports.map { report in
            Link(
                peer: name(report.peer), address: "\(report.address)", isDialer: report.isDialer, cipher: report.cipher,
                ageSeconds: report.age.inSeconds, openStreams: report.openStreams, bytesOut: report.sent.bytes,
                bytesIn: report.received.bytes)
        }
    }
}
