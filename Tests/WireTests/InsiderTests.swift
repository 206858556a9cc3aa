import ClusterKeys
import ClusterModel
import Sodium
import Testing

@testable import Wire

/// A dialer that has the cluster's key and says who it is in its own way: the handshake by hand, as its comment has it.
private struct Insider {
    let key: ClusterKey
    let ephemeral: EphemeralKeyPair
    let name: [UInt8]
    private(set) var transcript: [UInt8]

    init(_ key: ClusterKey, clusterName: String) throws {
        self.key = key
        ephemeral = try EphemeralKeyPair()
        name = Array(clusterName.utf8)
        transcript = Array("peerbuild link 2 ".utf8) + name
    }

    mutating func hello() -> [UInt8] {
        var message = Array("PBL2".utf8) + [3, key.id, 0, 0] + ephemeral.publicKey
        message += KeyedHash.hash(
            Array("peerbuild link 2 hello ".utf8) + name + [0] + message, key: key.secret, count: 32)
        transcript += message
        return message
    }

    /// Answers `reply` as the node of `publicKey`, with what `sign` makes of the right statement and its parts.
    mutating func proof(
        after reply: [UInt8], publicKey: [UInt8], boot: UInt64, role: UInt8 = 1, isFresh: Bool = true,
        signedBoot: UInt64? = nil, sign: ([UInt8]) -> [UInt8]
    ) throws -> [UInt8] {
        let opening = reply.prefix(33)
        transcript += reply
        func numbered(_ boot: UInt64) -> [UInt8] {
            var bytes = publicKey
            bytes.append(number: boot)
            return bytes
        }
        let statement =
            Array("peerbuild link 2 identity ".utf8) + [role] + KeyedHash.hash(isFresh ? transcript : [])
            + numbered(signedBoot ?? boot)
        var message = numbered(boot) + sign(statement)
        let shared = try #require(try ephemeral.exchange(with: Array(opening.dropFirst())))
        let mixed = try KeyedHash.derive(
            from: shared,
            label: KeyedHash.hash(Array("peerbuild link 2 mix".utf8) + KeyedHash.hash(transcript), key: key.secret))
        let sealing = SealingKey(try KeyedHash.derive(from: mixed, label: Array("handshake".utf8) + [1]))
        let plain = message.count
        message += [UInt8](repeating: 0, count: SealingKey.tagBytes)
        sealing.seal(
            &message, range: 0..<plain, nonce: [UInt8](repeating: 0, count: SealingKey.nonceBytes),
            authenticating: name)
        return message
    }
}

@Suite struct `An insider at the handshake` {
    private enum Lie: CaseIterable { case none, otherSigner, listenersRole, otherExchange, otherBoot, garbage }

    @Test func `who has the cluster's key still has to prove its identity, for this exchange, its role and its boot`()
        throws
    {
        let key = try ClusterKey.generate()
        let (own, other) = (try NodeIdentity.generate(), try NodeIdentity.generate())
        for lie in Lie.allCases {
            var (_, listener) = try machines(keys: ClusterKeyRing(primary: key)) { $1.clusterName = "insiders" }
            var insider = try Insider(key, clusterName: "insiders")
            _ = try listener.receive(insider.hello())
            let proof = try insider.proof(
                after: try listener.takeOutput().bytes, publicKey: own.publicKey, boot: 9,
                role: lie == .listenersRole ? 2 : 1, isFresh: lie != .otherExchange,
                signedBoot: lie == .otherBoot ? 8 : nil
            ) { statement in
                switch lie {
                case .otherSigner: other.sign(statement)
                case .garbage: [UInt8](repeating: 1, count: NodeIdentity.signatureBytes)
                default: own.sign(statement)
                }
            }
            if lie == .none {
                let events = try listener.receive(proof)
                #expect(events == [.established(peer: PeerID(rawValue: own.id), bootID: 9)])
            } else {
                #expect(throws: Handshake.Fault.unproved, "\(lie)") { _ = try listener.receive(proof) }
                #expect(!listener.isEstablished)
            }
        }
    }
}
