import ClusterModel
import OCI
import Testing

@Suite struct RendezvousHashTests {
    private let peers = (1...8).map { PeerID(rawValue: UInt64($0)) }
    private let keys = (0..<2_000).map { Digest.of([UInt8($0 % 256), UInt8($0 / 256)]) }

    @Test func `every node picks the same owner whatever the order of its view`() {
        for key in keys.prefix(100) {
            #expect(
                RendezvousHash.owner(of: key, among: peers) == RendezvousHash.owner(of: key, among: peers.reversed()))
        }
        #expect(RendezvousHash.owner(of: keys[0], among: []) == nil)
    }

    @Test func `a member that goes moves only its own keys`() {
        let rest = peers.dropLast()
        for key in keys {
            let before = RendezvousHash.owner(of: key, among: peers)
            guard before != peers.last else { continue }
            #expect(RendezvousHash.owner(of: key, among: rest) == before)
        }
    }

    @Test func `keys spread evenly`() {
        var counts: [PeerID: Int] = [:]
        for key in keys { counts[RendezvousHash.owner(of: key, among: peers) ?? peers[0], default: 0] += 1 }
        // Mean 250, standard deviation under 15: five of them.
        for peer in peers { #expect((175...325).contains(counts[peer] ?? 0)) }
    }
}
