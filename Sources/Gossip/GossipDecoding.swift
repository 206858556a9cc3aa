package import ClusterModel

/// The decoders of gossip for whoever tests them with bytes of any kind: what a message says, encoded again.
package enum GossipDecoding {
    /// Decodes a datagram's records and encodes them again.
    package static func reencoded(datagram bytes: [UInt8]) throws(CodecError) -> [UInt8] {
        Codec.encode(try Codec.decode(bytes))
    }

    /// Decodes a whole member table and encodes it again.
    package static func reencoded(state bytes: [UInt8]) throws(CodecError) -> [UInt8] {
        try StateMessage(decoding: bytes).encoded()
    }

    /// Datagrams and state messages that a running member sent in `steps` steps of a conversation between two.
    package static func samples(seed: UInt64, steps: Int) -> (datagrams: [[UInt8]], states: [[UInt8]]) {
        var datagrams: [[UInt8]] = []
        var states: [[UInt8]] = []
        let addresses = (0..<2).map { PeerAddress(host: $0 == 0 ? "10.0.0.1" : "fd00::2", port: 7_946) }
        let members = (0..<2).compactMap { index in
            try? Membership(
                configuration: GossipConfiguration(), id: PeerID(rawValue: UInt64(index) + 1), bootID: 1 << 32,
                metadata: MemberMetadata(
                    name: "node-\(index)", address: addresses[index], platforms: ["linux/amd64"],
                    labels: ["zone": "a"], version: "1"), random: SplitMix64(seed: seed &+ UInt64(index)), now: .zero)
        }
        guard members.count == 2 else { return ([], []) }
        var nodes = members
        var pending: [(node: Int, event: Membership.Event)] = [
            (0, .join(seeds: [])), (1, .join(seeds: [addresses[0]])), (0, .publish([1, 2, 3], isUrgent: true)),
        ]
        var now = MonotonicInstant.zero
        for step in 0..<steps {
            now = now + .milliseconds(20)
            let batch = pending
            pending = (0..<2).map { ($0, .timer) }
            if step % 16 == 15 { pending.append((step / 16 % 2, .draining(step % 32 == 15))) }
            for (node, event) in batch {
                for effect in nodes[node].handle(event, at: now) {
                    switch effect {
                    case .send(let bytes, _):
                        datagrams.append(bytes)
                        let other = PeerID(rawValue: UInt64(node) + 1)
                        // Every fifth is lost, so that suspicion and relays have their say.
                        guard datagrams.count % 5 != 0 else { continue }
                        pending.append(
                            (1 - node, .datagram(bytes, from: addresses[node], sender: other, bootID: 1 << 32)))
                    case .exchange(let id, _, _, let message):
                        states.append(message)
                        for answer in nodes[1 - node].handle(.exchangeRequested(token: 1, message), at: now) {
                            guard case .answerExchange(_, let bytes?) = answer else { continue }
                            states.append(bytes)
                            pending.append((node, .exchangeAnswered(id, bytes)))
                        }
                    default: break
                    }
                }
            }
        }
        return (datagrams, states)
    }
}
