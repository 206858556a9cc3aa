import OCI
import Testing

@Suite struct DigestTests {
    /// FIPS 180-2, appendix B.1.
    private let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

    @Test func `the digest of abc is the standard's`() {
        #expect(Digest.of(Array("abc".utf8)).description == abc)
        var pieces = DigestHasher()
        for byte in "abc".utf8 { pieces.update([byte]) }
        #expect(pieces.finish().description == abc)
    }

    @Test func `text and bytes go both ways`() throws {
        let digest = try #require(Digest(abc))
        #expect(Digest(bytes: digest.bytes) == digest)
        #expect(Digest(hex: digest.hex) == digest)
    }

    @Test(arguments: [
        "", "sha256:", "sha512:00", "ba7816", "sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
    ])
    func `anything else is no digest`(text: String) {
        #expect(Digest(text) == nil)
    }

    @Test func `31 and 33 bytes are no digest`() {
        #expect(Digest(bytes: [UInt8](repeating: 0, count: 31)) == nil)
        #expect(Digest(bytes: [UInt8](repeating: 0, count: 33)) == nil)
    }
}
