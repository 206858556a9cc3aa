import Testing

@testable import PeerRuntime

@Suite(.timeLimit(.minutes(1)))
struct LinkDiscoveryCounterTests {
    @Test(arguments: [false, true])
    func `status counts what is no DNS on the links`(usesMulticastDNS: Bool) async throws {
        try await TestCluster.with(1, change: { $0.usesMulticastDNS = usesMulticastDNS }) { cluster in
            let node = cluster.nodes[0]
            #expect((node.discovery != nil) == usesMulticastDNS)
            #expect(await node.gossip().counters["mdns.malformed"] != nil)
        }
    }
}
