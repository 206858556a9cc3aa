import ClusterKeys
import Foundation
import Sodium
import Testing

/// A directory that is gone when its owner is.
final class ScratchDirectory {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "sodium-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ text: String, mode: Int, as name: String) throws -> String {
        let file = path + "/" + name
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
        return file
    }
}

@Suite struct `Keys and identities` {
    @Test func `a cluster key survives its base64`() throws {
        let key = try ClusterKey.generate()
        #expect(key.base64.utf8.count == 44)
        #expect(try ClusterKey(base64: key.base64, place: "test").base64 == key.base64)
        #expect(try ClusterKey.generate().base64 != key.base64)
    }

    @Test(arguments: ["", "abc", "AAAA", "!!!!", String(repeating: "A", count: 44), String(repeating: "A", count: 60)])
    func `a text that is no key is refused with its place`(_ text: String) {
        #expect {
            try ClusterKey(base64: text, place: "cluster.key, line 3")
        } throws: {
            "\($0)".contains("cluster.key, line 3") && "\($0)".contains("peerbuild keygen")
        }
    }

    @Test(arguments: [0o640, 0o604, 0o660, 0o666])
    func `a key file that others can read is refused`(_ mode: Int) throws {
        let scratch = try ScratchDirectory()
        let file = try scratch.write(try ClusterKey.generate().base64 + "\n", mode: mode, as: "key")
        #expect {
            try ClusterKeyRing(file: file)
        } throws: {
            "\($0)".contains("chmod 600 \(file)")
        }
    }

    @Test func `a key file gives its keys in order`() throws {
        let scratch = try ScratchDirectory()
        let keys = try [ClusterKey.generate(), ClusterKey.generate()]
        let text = "# new key first\n\(keys[0].base64)\n\n\(keys[1].base64)\n"
        let ring = try ClusterKeyRing(file: try scratch.write(text, mode: 0o600, as: "key"))
        #expect(ring.keys.map(\.base64) == keys.map(\.base64))
        #expect(ring.isSecret)
        #expect(try !ClusterKeyRing.withoutKey().isSecret)
    }

    @Test func `an identity is made once and found again`() throws {
        let scratch = try ScratchDirectory()
        let file = scratch.path + "/identity"
        let first = try NodeIdentity.loadOrCreate(file: file)
        let again = try NodeIdentity.loadOrCreate(file: file)
        #expect(again.publicKey == first.publicKey)
        #expect(again.id == NodeIdentity.id(ofPublicKey: first.publicKey))
        let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let message = Array("hello".utf8)
        #expect(NodeIdentity.verify(first.sign(message), of: message, publicKey: again.publicKey))
        #expect(!NodeIdentity.verify(first.sign(message), of: message + [0], publicKey: again.publicKey))
    }

    @Test func `a damaged identity is refused, not replaced`() throws {
        let scratch = try ScratchDirectory()
        let file = try scratch.write("short", mode: 0o600, as: "identity")
        #expect(throws: SodiumError.self) { try NodeIdentity.loadOrCreate(file: file) }
        #expect(try String(contentsOfFile: file, encoding: .utf8) == "short")
    }

    @Test func `boot ids only grow, even when the clock goes back`() throws {
        let scratch = try ScratchDirectory()
        let file = scratch.path + "/boot"
        let ids = try [5000, 5000, 10, 6000].map { try BootID.next(file: file, unixSeconds: $0) }
        #expect(ids == ids.sorted() && Set(ids.map { $0 >> 32 }).count == 4)
        #expect(ids.map { $0 >> 32 } == [5000, 5001, 5002, 6000])
    }

    @Test func `a boot id above that of another process is written down, and only if there is one`() throws {
        let scratch = try ScratchDirectory()
        let file = scratch.path + "/boot"
        let first = try BootID.next(file: file, unixSeconds: 5000)
        let theirs: UInt64 = 7000 << 32 | 0xFFFF_FFFF
        let above = try BootID.next(file: file, unixSeconds: 5000, above: theirs)
        #expect(above > theirs && above >> 32 == 7001)
        #expect(try String(contentsOfFile: file, encoding: .utf8) == "\(above)\n")
        #expect(try BootID.next(file: file, unixSeconds: 5000, above: first) > above)
        #expect(throws: SodiumError.self) { try BootID.next(file: file, unixSeconds: 5000, above: .max) }
    }
}

@Suite struct `Sealing and exchange` {
    @Test func `what is sealed opens, and any flipped bit is noticed`() throws {
        let key = SealingKey(try .random(count: 32))
        let nonce = RandomBytes.make(24)
        let plain = RandomBytes.make(100)
        var sealed = plain + [UInt8](repeating: 0, count: 16)
        key.seal(&sealed, range: 0..<100, nonce: nonce, authenticating: [1, 2])
        #expect(Array(sealed[..<100]) != plain)
        var copy = sealed
        let opened = key.open(&copy, range: 0..<116, nonce: nonce, authenticating: [1, 2])
        let range = try #require(opened)
        #expect(Array(copy[range]) == plain)
        for index in sealed.indices {
            var damaged = sealed
            damaged[index] ^= 1 << UInt8(index % 8)
            let opened = key.open(&damaged, range: 0..<116, nonce: nonce, authenticating: [1, 2])
            #expect(opened == nil)
        }
        var other = sealed
        let otherHeader = key.open(&other, range: 0..<116, nonce: nonce, authenticating: [1, 3])
        other = sealed
        let cut = key.open(&other, range: 0..<15, nonce: nonce, authenticating: [1, 2])
        #expect(otherHeader == nil && cut == nil)
    }

    @Test func `both sides of an exchange share a secret, and a weak key is refused`() throws {
        let left = try EphemeralKeyPair()
        let right = try EphemeralKeyPair()
        let one = try #require(try left.exchange(with: right.publicKey))
        let two = try #require(try right.exchange(with: left.publicKey))
        #expect(KeyedHash.hash([1], key: one) == KeyedHash.hash([1], key: two))
        #expect(try left.exchange(with: [UInt8](repeating: 0, count: 32)) == nil)
        #expect(try left.exchange(with: [1, 2, 3]) == nil)
    }
}

@Suite struct `Record keys` {
    @Test(arguments: RecordAlgorithm.available)
    func `open what they sealed, and nothing that was changed`(_ algorithm: RecordAlgorithm) throws {
        let key = try RecordKey(try .random(count: RecordKey.keyBytes), algorithm: algorithm)
        for count in [0, 1, 15, 16, 17, 127, 128, 129, 70_000] {
            let text = RandomBytes.make(count)
            var sealed = text + [UInt8](repeating: 0, count: RecordKey.tagBytes)
            let header: [UInt8] = [1, 2, 3, 4]
            Self.seal(&sealed, count, key, counter: 7, header)
            #expect(count < 16 || Array(sealed.prefix(count)) != text)
            var opened = sealed
            #expect(Self.open(&opened, count, key, counter: 7, header))
            #expect(Array(opened.prefix(count)) == text)
            let next = try key.next(label: [1])
            for place in stride(from: 0, to: sealed.count, by: max(1, sealed.count / 9)) {
                var flipped = sealed
                flipped[place] ^= 64
                #expect(!Self.open(&flipped, count, key, counter: 7, header))
            }
            for (otherKey, counter, otherHeader) in [
                (key, UInt64(8), header), (key, 7, [1, 2, 3, 5]), (next, 7, header), (key, 7 | 1 << 63, header),
            ] {
                var copy = sealed
                #expect(!Self.open(&copy, count, otherKey, counter: counter, otherHeader))
            }
        }
    }

    /// RFC 8439 §2.8.2 has another nonce; AES-256-GCM: NIST's test case 14 (16 zero bytes, zero key, zero nonce).
    @Test func `AES-256-GCM gives the published result`() throws {
        guard RecordAlgorithm.available.contains(.aes256GCM) else { return }
        let key = try RecordKey(
            try SecretBytes(count: 32) { $0.update(repeating: 0, count: 32) }, algorithm: .aes256GCM)
        var text = [UInt8](repeating: 0, count: 32)
        Self.seal(&text, 16, key, counter: 0, [])
        let hex = text.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        #expect(hex == "cea7403d4d606b6e074ec5d3baf39d18" + "d0d1c8a799996bf0265b98b5d48ab919")
    }

    private static func seal(
        _ bytes: inout [UInt8], _ count: Int, _ key: RecordKey, counter: UInt64, _ header: [UInt8]
    ) {
        bytes.withUnsafeMutableBufferPointer { buffer in
            header.withUnsafeBufferPointer { head in
                guard let start = buffer.baseAddress, let first = head.baseAddress else { return }
                key.seal(start, count: count, counter: counter, header: first, headerCount: head.count)
            }
        }
    }

    private static func open(
        _ bytes: inout [UInt8], _ count: Int, _ key: RecordKey, counter: UInt64, _ header: [UInt8]
    ) -> Bool {
        bytes.withUnsafeMutableBufferPointer { buffer in
            header.withUnsafeBufferPointer { head in
                guard let start = buffer.baseAddress, let first = head.baseAddress else { return false }
                return key.open(start, count: count, counter: counter, header: first, headerCount: head.count)
            }
        }
    }
}
