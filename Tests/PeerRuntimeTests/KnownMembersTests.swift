import CacheMap
import ClusterModel
import OCI
import Testing

@testable import Gossip
@testable import PeerRuntime

/// What a node remembers of members and of uses of keys, up to its bounds.
struct KnownMembersTests {
    private func member(_ number: Int, _ state: Member.State) -> Member {
        Member(
            id: PeerID(rawValue: UInt64(number)), bootID: 1, incarnation: 0, state: state,
            metadata: MemberMetadata(name: "n\(number)", address: PeerAddress(host: "h", port: 1)), load: LoadRecord())
    }

    private func name(_ number: Int, _ known: KnownMembers) -> String? {
        known.members[PeerID(rawValue: UInt64(number))]?.name
    }

    @Test func `of 5,000 members that came and went the latest 4,096 keep their names, and all that are up`() {
        var known = KnownMembers()
        for number in 1...5_000 {
            known.update(member(number, .alive))
            if number > 10 { known.update(member(number, number % 2 == 0 ? .dead : .left)) }
        }
        #expect(known.members.count == 10 + 4_096)
        #expect((1...10).allSatisfy { name($0, known) == "n\($0)" })
        #expect(name(904, known) == nil && name(905, known) == "n905")
        // Who comes back goes last, once it is down again; a suspect is up.
        known.update(member(905, .suspect))
        known.update(member(906, .left))
        known.update(member(6_000, .dead))
        known.update(member(6_001, .dead))
        #expect(name(905, known) == "n905" && name(906, known) == nil && name(907, known) == "n907")
    }

    @Test func `a key's use is noted once a minute, and whenever the clock was set back`() {
        var uses = UseLog()
        let (key, other) = (CacheKey(Digest.of(Array("a".utf8))), CacheKey(Digest.of(Array("b".utf8))))
        let due = [1_000, 1_000, 1_059, 1_060, 1_119, 500, 501, 560].map { uses.isDue(key, at: $0) }
        #expect(due == [true, false, false, true, false, true, false, true])
        let first = uses.isDue(other, at: 560)
        #expect(first)
    }
}
