internal import ClusterModel
internal import Logging
internal import UVLoop

/// Bytes of links: from the socket through the cipher to streams, and back.
extension PeerLinks {
    func startReading(_ link: Link) {
        link.connection?.preferLatency(unsentBytesMax: Int32(WireLimits.unsentBytesMax))
        link.isReading = true
        let number = link.number
        do {
            try link.connection?.startReading(into: { [weak self] in
                // A link that is over has no connection that reads; what is lent then is never filled.
                self?.assumeIsolated { $0.room(number) } ?? ReadRoom(ByteBlock(capacity: 1), from: 0)
            }) { [weak self] event in
                self?.assumeIsolated { $0.read(number, event) }
            }
        } catch {
            over(link, error.description)
        }
    }

    private func room(_ number: UInt64) -> ReadRoom {
        links[number]?.machine.room() ?? ReadRoom(pool.take(), from: 0)
    }

    private func read(_ number: UInt64, _ event: TCPConnection.ReadEvent) {
        guard let link = links[number] else { return }
        switch event {
        case .filled(let count):
            link.lastHeard = now
            link.isPingPending = false
            link.machine.filled(count)
            advance(link)
        case .bytes: preconditionFailure("bytes from a connection that reads into blocks")
        case .end: over(link, "the peer closed the connection")
        case .failed(let error): over(link, error.description)
        }
    }

    /// Takes all steps that are possible with what was read.
    private func advance(_ link: Link) {
        do {
            steps: while link.failure == nil {
                switch try link.machine.next() {
                case .waiting: break steps
                case .events(let events): handle(events, on: link)
                case .open(let batch):
                    if offload(batch, of: link, { $0.open() }, then: { $0.opened(batch, on: $1) }) { break steps }
                    batch.open()
                    handle(try link.machine.opened(batch), on: link)
                }
            }
            pump(link)
        } catch {
            over(link, fault: error)
        }
        watchRoom(link)
    }

    private func opened(_ batch: RecordBatch, on link: Link) {
        do {
            handle(try link.machine.opened(batch), on: link)
        } catch {
            return over(link, fault: error)
        }
        advance(link)
    }

    private func handle(_ events: [LinkMachine.Event], on link: Link) {
        for event in events where link.failure == nil { handle(event, on: link) }
    }

    /// Reads only while there is room: the kernel's buffers fill, and the peer has to wait.
    private func watchRoom(_ link: Link) {
        guard link.failure == nil, link.isReading == link.machine.isInboundFull else { return }
        if link.isReading {
            link.connection?.stopReading()
            link.isReading = false
        } else {
            startReading(link)
        }
    }

    /// Hands a batch to another thread if that is worth it; false when it is not, and nothing happens.
    private func offload(
        _ batch: RecordBatch, of link: Link, _ work: @escaping @Sendable (RecordBatch) -> Void,
        then done: @escaping @Sendable (isolated PeerLinks, Link) -> Void
    ) -> Bool {
        guard configuration.usesCipherThreads, batch.textBytes >= WireLimits.offloadedBytesMin else { return false }
        let number = link.number
        loop.offload {
            work(batch)
        } then: { [weak self] in
            self?.assumeIsolated { links in
                guard let link = links.links[number] else { return }
                done(links, link)
            }
        }
        return true
    }

    /// Seals and writes what is due, as long as the kernel takes it.
    func pump(_ link: Link) {
        guard link.failure == nil else { return }
        do {
            try writeHandshake(link)
            while link.failure == nil, let batch = fill(link) {
                if sealElsewhere(batch, of: link) { return }
                try sealAndWrite(batch, on: link)
            }
        } catch {
            over(link, fault: error)
        }
    }

    private func sealElsewhere(_ batch: RecordBatch, of link: Link) -> Bool {
        offload(batch, of: link) {
            $0.seal()
        } then: {
            $0.sealed(batch, on: $1)
        }
    }

    private func sealAndWrite(_ batch: RecordBatch, on link: Link) throws {
        batch.seal()
        try link.machine.sealed(batch)
        try write(batch, on: link)
    }

    /// A batch is back; the next one, if it is large, is sealed while this one is written.
    private func sealed(_ batch: RecordBatch, on link: Link) {
        do {
            try link.machine.sealed(batch)
            let next = fill(link)
            guard link.failure == nil else { return }
            let isGone = next.map { sealElsewhere($0, of: link) } ?? false
            try write(batch, on: link)
            guard let next, !isGone else { return }
            try sealAndWrite(next, on: link)
            pump(link)
        } catch {
            over(link, fault: error)
        }
    }

    /// The next records, unless the kernel has enough or others are being sealed.
    private func fill(_ link: Link) -> RecordBatch? {
        guard let pending = link.connection?.pendingWriteBytes, pending < WireLimits.unsentBytesMax else { return nil }
        var allowance = limiter?.allowance(at: now) ?? Int.max
        let before = allowance
        let (batch, events) = link.machine.fill(bulkAllowance: &allowance)
        if limiter != nil {
            limiter?.spend(before - allowance)
            if allowance <= 0, link.machine.streams.isBulkWaiting { waitForAllowance() }
        }
        handle(events, on: link)
        return link.failure == nil ? batch : nil
    }

    private func write(_ batch: RecordBatch, on link: Link) throws(UVError) {
        let number = link.number
        let block = batch.block
        let isWritten = try link.connection?.write(block, count: batch.end) { [weak self] error in
            self?.assumeIsolated { links in
                links.pool.give(block)
                links.written(number, error)
            }
        }
        if isWritten == true { pool.give(block) }
    }

    private func writeHandshake(_ link: Link) throws(UVError) {
        let bytes = link.machine.takeHandshakeOutput()
        guard !bytes.isEmpty else { return }
        let number = link.number
        try link.connection?.write(bytes) { [weak self] error in
            self?.assumeIsolated { $0.written(number, error) }
        }
    }

    private func written(_ number: UInt64, _ error: UVError?) {
        guard let link = links[number] else { return }
        if let error { return over(link, error.description) }
        pump(link)
    }

    // MARK: Rate limit

    /// Looks at all links again when the limit lets something pass.
    private func waitForAllowance() {
        guard !isWaitingForAllowance, let limiter else { return }
        counted.rateLimited += 1
        do {
            try limitTimer?.start(after: limiter.pause + .milliseconds(1))
            isWaitingForAllowance = true
        } catch {
            logger.error("cannot wait for the rate limit", metadata: ["error": "\(error)"])
        }
    }

    /// Links take turns at being the first.
    func allowanceIsBack() {
        isWaitingForAllowance = false
        let numbers = links.keys.sorted()
        let first = numbers.firstIndex { $0 > lastLimited } ?? 0
        for number in numbers[first...] + numbers[..<first] {
            guard let link = links[number] else { continue }
            pump(link)
            if !isWaitingForAllowance { lastLimited = number }
        }
    }
}
