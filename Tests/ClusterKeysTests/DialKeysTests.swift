import ClusterModel
import Testing

@testable import ClusterKeys

struct DialKeysTests {
    private static let here = PeerAddress(host: "10.0.0.1", port: 1)
    private static let keys = (1...3).map { KeyFingerprint(rawValue: UInt64($0)) }
    private let keys = Self.keys

    @Test func `a peer that refuses is dialled with each key in turn`() {
        var dial = DialKeys(addressesMax: 2)
        var tried: [KeyFingerprint?] = []
        for _ in 0..<4 {
            tried.append(dial.key(for: Self.here, of: keys))
            dial.failed(at: Self.here)
        }
        #expect(tried == [keys[0], keys[1], keys[2], keys[0]])
        #expect(dial.key(for: PeerAddress(host: "10.0.0.1", port: 2), of: keys) == keys[0])
        #expect(dial.key(for: Self.here, of: []) == nil)
    }

    @Test func `the key that a peer was heard with is taken until it agrees, refuses, or the key is gone`() {
        var dial = DialKeys(addressesMax: 2)
        dial.heard(keys[2], at: Self.here, sealing: keys[0])
        #expect(dial.key(for: Self.here, of: keys) == keys[2])
        #expect(dial.key(for: Self.here, of: Array(keys.prefix(2))) == keys[0])
        dial.failed(at: Self.here)
        #expect(dial.key(for: Self.here, of: keys) == keys[1])
        dial.heard(keys[2], at: Self.here, sealing: keys[0])
        dial.agreed(at: Self.here)
        #expect(dial.key(for: Self.here, of: keys) == keys[0])
        dial.heard(keys[1], at: Self.here, sealing: keys[0])
        dial.heard(keys[0], at: Self.here, sealing: keys[0])
        #expect(dial.key(for: Self.here, of: keys) == keys[0])
    }

    @Test func `it keeps so many addresses and no more`() {
        var dial = DialKeys(addressesMax: 2)
        for port in UInt16(1)...3 { dial.heard(keys[2], at: PeerAddress(host: "h", port: port), sealing: keys[0]) }
        #expect(dial.key(for: PeerAddress(host: "h", port: 2), of: keys) == keys[2])
        #expect(dial.key(for: PeerAddress(host: "h", port: 3), of: keys) == keys[0])
    }

    @Test func `a peer that is heard or agrees begins with the first key again`() {
        for agrees in [true, false] {
            var dial = DialKeys(addressesMax: 2)
            dial.failed(at: Self.here)
            if agrees { dial.agreed(at: Self.here) } else { dial.heard(keys[0], at: Self.here, sealing: keys[0]) }
            #expect(dial.key(for: Self.here, of: keys) == keys[0])
        }
    }

    @Test func `an address that is kept follows what is heard there, also when there is room for no more`() {
        let addresses = (UInt16(1)...3).map { PeerAddress(host: "h", port: $0) }
        var dial = DialKeys(addressesMax: 2)
        for address in addresses {
            dial.heard(keys[2], at: address, sealing: keys[0])
            dial.heard(keys[1], at: address, sealing: keys[0])
        }
        #expect(addresses.map { dial.key(for: $0, of: keys) } == [keys[1], keys[1], keys[0]])
        dial = DialKeys(addressesMax: 2)
        for address in addresses { for _ in 0..<2 { dial.failed(at: address) } }
        #expect(addresses.map { dial.key(for: $0, of: keys) } == [keys[2], keys[2], keys[0]])
    }
}
