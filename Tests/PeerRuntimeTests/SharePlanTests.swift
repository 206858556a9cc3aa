import ClusterModel
import OCI
import Testing

@testable import PeerRuntime

@Suite struct `Sharing a registry's blobs` {
    private static let nodes = (1...5).map { PeerID(rawValue: $0) }

    private static func plan(
        _ blob: Digest, _ own: PeerID, among nodes: [PeerID] = nodes, isAsked: Bool = false
    ) -> SharePlan {
        SharePlan(for: blob, own: own, peers: nodes.filter { $0 != own }, isAsked: isAsked)
    }

    @Test(arguments: UInt8(0)..<32) func `all nodes agree on one owner, and only it goes to the registry first`(
        _ seed: UInt8
    ) {
        let blob = Digest.of([seed])
        let owner = RendezvousHash.owner(of: blob, among: Self.nodes)
        for node in Self.nodes {
            let plan = Self.plan(blob, node)
            let others = Self.nodes.filter { $0 != node }
            #expect(plan.isOwners == (node == owner))
            if node == owner {
                #expect(plan.steps.count == 3 && plan.steps[1] == .registry)
            } else {
                #expect(plan.steps.first == owner.map(SharePlan.Step.owner))
                #expect(plan.steps.contains(.registry))
            }
            // Whatever happens, everybody is asked in the end.
            guard case .holders(let last)? = plan.steps.last else {
                Issue.record("\(plan)")
                return
            }
            #expect(Set(last) == Set(others))
        }
    }

    @Test(arguments: UInt8(0)..<32) func `a node that is asked never asks an owner, so no two wait for each other`(
        _ seed: UInt8
    ) {
        let blob = Digest.of([seed])
        for node in Self.nodes {
            let plan = Self.plan(blob, node, isAsked: true)
            #expect(plan.isOwners)
            #expect(plan.steps.allSatisfy { if case .owner = $0 { false } else { true } })
        }
    }

    @Test(arguments: UInt8(0)..<32) func `a node that gave wrong bytes owns nothing and is asked last`(_ seed: UInt8) {
        let blob = Digest.of([seed])
        for node in Self.nodes {
            let others = Self.nodes.filter { $0 != node }
            for liar in others {
                let plan = SharePlan(for: blob, own: node, peers: others, demoted: [liar], isAsked: false)
                let without = Self.plan(blob, node, among: Self.nodes.filter { $0 != liar })
                #expect(plan.steps.dropLast() == without.steps.dropLast())
                guard case .holders(let last)? = plan.steps.last else {
                    Issue.record("\(plan)")
                    return
                }
                #expect(last.last == liar && Set(last) == Set(others))
            }
        }
    }

    @Test func `when the owner dies the next of the ranking was everybody's second`() {
        for seed in UInt8(0)..<32 {
            let blob = Digest.of([seed])
            guard let owner = RendezvousHash.owner(of: blob, among: Self.nodes) else {
                Issue.record("no owner")
                return
            }
            let left = Self.nodes.filter { $0 != owner }
            let heir = RendezvousHash.owner(of: blob, among: left)
            for node in left where node != heir {
                #expect(Self.plan(blob, node).steps.dropFirst().first == heir.map(SharePlan.Step.owner))
                #expect(Self.plan(blob, node, among: left).steps.first == heir.map(SharePlan.Step.owner))
            }
        }
        #expect(SharePlan(for: Digest.of([1]), own: Self.nodes[0], peers: [], isAsked: false).steps == [.registry])
    }

    private static let messages: [ShareMessage] = [
        .ask(
            ShareMessage.Ask(
                mode: .get, blob: Descriptor(mediaType: "application/x", digest: Digest.of([1]), size: 1 << 40),
                offset: 77, repository: "registry.example:5000/team/image")),
        .refused("no"), .wantLogin(host: "registry.example"), .login(nil),
        .login(ShareMessage.Login(username: "ann", secret: "s3cr3t\n")), .waiting, .bytes([]), .bytes([1, 2, 3]), .end,
        .askResolution("a/b:1"),
        .resolution(Descriptor(mediaType: "t", digest: Digest.of([2]), size: 3), ageSeconds: 9),
    ]

    @Test func `messages come back, and none that is cut or longer is read`() throws {
        for message in Self.messages {
            let bytes = message.encoded
            #expect(try ShareMessage(decoding: bytes) == message)
            if case .bytes = message { continue }
            for count in 0..<bytes.count {
                #expect(throws: CodecError.self) { try ShareMessage(decoding: Array(bytes[..<count])) }
            }
            #expect(throws: CodecError.self) { try ShareMessage(decoding: bytes + [0]) }
        }
    }

    @Test(arguments: UInt64(0)..<200) func `garbage is refused or is a message`(_ seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var bytes = Self.messages[Int(seed) % Self.messages.count].encoded
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        guard let message = try? ShareMessage(decoding: bytes) else { return }
        #expect((try? ShareMessage(decoding: message.encoded)) == message)
    }
}
