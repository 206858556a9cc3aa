internal import CacheMap
internal import ClusterModel
internal import Gossip
internal import OCI
internal import Sodium
internal import Transfer
internal import Wire

/// Every decoder that reads what a peer, a registry or a disk may have made up; a new one is one line here.
///
/// `ShareMessage` is not among them: PeerRuntime, where it is, pulls in all that a node is made of.
enum Registry {
    static func targets(seed: UInt64) throws -> [FuzzTarget] {
        let keys = (0..<40).map { CacheKey(Digest.of([UInt8($0)])) }
        return try links() + members(seed: seed) + cacheMap(keys) + transfers()
    }

    private static func links() throws -> [FuzzTarget] {
        var wire = try WireDecoding()
        let link = wire
        return [
            .survivor("datagram seal", corpus: wire.datagrams) { bytes in
                guard wire.openDatagram(bytes) else { throw Refused() }
            },
            .survivor("handshake hello", corpus: wire.hellos) { try link.hello($0) },
            .survivor("handshake reply", corpus: wire.replies) { try link.reply($0) },
            .survivor("handshake proof", corpus: wire.proofs) { try link.proof($0) },
            .survivor("link frames", corpus: wire.records) { try link.frames($0) },
            .survivor("multicast DNS", corpus: linkMessages) { _ = try DNSMessage(decoding: $0) },
        ]
    }

    private static func members(seed: UInt64) throws -> [FuzzTarget] {
        let gossip = GossipDecoding.samples(seed: seed, steps: 400)
        let ring = ClusterKeyRing(primary: try .generate(), others: [try .generate(), try .generate()]).encoded()
        return [
            .reencoder("gossip datagram", corpus: gossip.datagrams, GossipDecoding.reencoded(datagram:)),
            .reencoder("gossip state", corpus: gossip.states, GossipDecoding.reencoded(state:)),
            .codec("key ring", corpus: [ring], decode: { try ClusterKeyRing(decoding: $0) }, encode: { $0.encoded() }),
            try ringMerge(),
        ]
    }

    private static func cacheMap(_ keys: [CacheKey]) -> [FuzzTarget] {
        [
            .codec(
                "digest messages", corpus: digestMessages(keys), decode: { try DigestMessage(decoding: $0) },
                encode: { $0.encoded() }),
            .codec(
                "digest page", corpus: digestPages(keys), decode: { try DigestPage(decoding: $0) },
                encode: { $0.encoded() }),
            .codec(
                "map delta", corpus: mapDeltas(keys), decode: { try MapDelta(decoding: $0) },
                encode: { Array(DigestMessage.delta($0).encoded().dropFirst(DigestMessage.tagBytes)) }),
            peerDigests(keys),
            .codec(
                "saved position", corpus: [savedPosition(keys)], decode: { try SavedPosition(decoding: $0) },
                encode: { $0.encoded() }),
            .codec(
                "have request", corpus: [HaveRequest(number: 7, keys: keys).encoded()],
                decode: { try HaveRequest(decoding: $0) }, encode: { $0.encoded() }),
            .codec(
                "have answer", corpus: haveAnswers, decode: { try HaveAnswer(decoding: $0) }, encode: { $0.encoded() }),
        ]
    }

    private static func transfers() throws -> [FuzzTarget] {
        [
            .codec(
                "layer manifest", corpus: manifests, decode: { try LayerManifest(decoding: $0) },
                encode: { $0.encoded() }),
            .codec(
                "transfer message", corpus: transferMessages, decode: { try TransferMessage(decoding: $0) },
                encode: { $0.encoded() }),
            try packs(), try outlineMerge(), try archives(),
        ]
    }

    private struct Refused: Error {}
}
