import ClusterModel
import Testing

@Suite struct AddressAndTimeTests {
    @Test(arguments: ["127.0.0.1:7946", "[::1]:80", "host:0"])
    func `addresses print as they are read`(text: String) {
        #expect(PeerAddress(text)?.description == text)
    }

    @Test(arguments: ["", "host", ":1", "host:", "host:65536", "::1:80", "host:-1"])
    func `other texts are no address`(text: String) {
        #expect(PeerAddress(text) == nil)
    }

    @Test func `durations saturate instead of trapping`() {
        #expect(Duration.seconds(Int64.max).nanoseconds == .max)
        #expect(Duration.milliseconds(1_500).nanoseconds == 1_500_000_000)
        let instant = MonotonicInstant.zero + .seconds(2)
        #expect(instant - .zero == .seconds(2))
    }

    @Test func `the generator gives the published sequence`() {
        // First outputs of splitmix64 for seed 1234567 (Vigna's reference).
        var generator = SplitMix64(seed: 1_234_567)
        #expect(generator.next() == 6_457_827_717_110_365_317)
        #expect(generator.next() == 3_203_168_211_198_807_973)
    }

    @Test func `identities have sixteen digits`() {
        #expect(PeerID(rawValue: 10).description == "000000000000000a")
    }
}
