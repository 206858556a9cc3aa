import ClusterModel
import Testing

@testable import Wire

extension PeerLinks {
    /// Sends a message that is longer than any may be, as a hostile holder of the key would.
    fileprivate func sendTooLong() {
        let message = [UInt8](repeating: 0, count: PeerStreamLimits.messageBytesMax + 1)
        for entry in streams.values where entry.link.failure == nil {
            _ = entry.link.machine.streams.send(message, on: entry.id)
            pump(entry.link)
        }
    }

    /// As if `count` warnings of this cause, and no other, had come so long ago.
    fileprivate func haveWarned(of cause: Warning, count: Int, ago: Duration) {
        warnings = CauseLog()
        for _ in 0..<count { _ = warnings.due(cause, at: now - ago) }
    }
}

@Suite struct `Log lines about links` {
    @Test func `a peer that breaks the protocol on link after link is one line a minute, with how many went unsaid`()
        async throws
    {
        try await withPair { left, right in
            func violate() async throws {
                let before = await right.links.counters().linksViolated
                let stream = try await left.links.open("echo", to: right.address, expecting: nil)
                try await stream.send([1])
                #expect(try await stream.receive() == [1])
                await left.links.sendTooLong()
                await eventually("counted") { await right.links.counters().linksViolated == before + 1 }
                await #expect(throws: WireError.self) { _ = try await stream.receive() }
            }
            for _ in 0..<3 { try await violate() }
            #expect(right.log.count(containing: "warning peer link closed: the peer broke the protocol") == 1)
            #expect(right.log.count(containing: "since the last such line") == 0)
            await right.links.haveWarned(of: .violatedLinks, count: 3, ago: CauseLog<Warning>.interval)
            try await violate()
            #expect(right.log.count(containing: "peer link closed") == 2)
            #expect(right.log.count(containing: "; 2 more since the last such line") == 1)
        }
    }

    @Test func `links that were damaged and links that were abused are causes of their own`() async throws {
        try await withPair { left, right in
            await right.links.haveWarned(of: .damagedLinks, count: 1, ago: .zero)
            let stream = try await left.links.open("echo", to: right.address, expecting: nil)
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            await left.links.sendTooLong()
            await eventually("counted") { await right.links.counters().linksViolated == 1 }
            #expect(right.log.count(containing: "peer link closed") == 1)
            await #expect(throws: WireError.self) { _ = try await stream.receive() }
        }
    }
}
