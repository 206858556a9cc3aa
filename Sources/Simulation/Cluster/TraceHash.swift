internal import ClusterModel
internal import Gossip

/// A running hash of all effects of all nodes: equal for two runs only if they did the same at the same instants.
struct TraceHash: Sendable {
    private(set) var value: UInt64 = 0x9AE1_6A3B_2F90_404F

    mutating func add(_ word: UInt64) { value = SplitMix64.mix(value ^ word) }

    mutating func add(_ bytes: [UInt8]) {
        var word: UInt64 = UInt64(bytes.count)
        for (index, byte) in bytes.enumerated() {
            word = word << 8 | UInt64(byte)
            if index & 7 == 7 {
                add(word)
                word = 0
            }
        }
        add(word)
    }

    mutating func add(_ effect: Membership.Effect, of node: Int, at now: MonotonicInstant) {
        add(UInt64(bitPattern: now.nanoseconds) ^ UInt64(node) << 48)
        switch effect {
        case .send(let bytes, let address):
            add(UInt64(address.port) | 1 << 32)
            add(bytes)
        case .wake(let instant): add(UInt64(bitPattern: instant.nanoseconds) ^ 2 << 56)
        case .exchange(let id, let address, _, let bytes):
            add(id.rawValue ^ UInt64(address.port) << 32 ^ 3 << 56)
            add(bytes)
        case .lookUpSeeds: add(10 << 56)
        case .connect(let token, let address, _, _): add(token ^ UInt64(address.port) << 32 ^ 11 << 56)
        case .mapRootDiffers(let peer): add(peer.rawValue ^ 12 << 56)
        case .deliverDirect(let bytes, let peer):
            add(peer.rawValue ^ 13 << 56)
            add(bytes)
        case .answerExchange(let token, let bytes):
            add(token ^ 4 << 56)
            add(bytes ?? [])
        case .report(let change):
            add(change.member.id.rawValue ^ UInt64(change.member.incarnation) ^ 5 << 56)
            add([UInt8](change.kind.rawValue.utf8))
        case .notice: add(6 << 56)
        case .deliver(let bytes, let peer):
            add(peer.rawValue ^ 7 << 56)
            add(bytes)
        case .persist(let members): for member in members { add(member.id.rawValue ^ 8 << 56) }
        case .leaveFinished: add(9 << 56)
        case .bootWanted(let above): add(above ^ 14 << 56)
        }
    }
}
