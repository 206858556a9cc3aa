package import ClusterModel
internal import UVLoop

/// What a TCP connection to a node's address brought: evidence about a member that does not answer datagrams.
package enum ConnectEvidence: Sendable, Hashable {
    /// The host answers, but nothing listens there: the process is gone.
    case refused
    /// The kernel took the connection, but no handshake came back in time: the process is stopped or overloaded.
    case accepted
    /// A node answered the handshake: it lives, and only datagrams do not get through.
    case answered(peer: PeerID, bootID: UInt64)
    /// Nothing came back in time.
    case silent
    /// The network says that there is no way to the host.
    case unreachable
}

extension PeerLinks {
    /// Evidence connections at once; more are told `silent` after no try at all, which accuses nobody.
    static let evidenceMax = 64

    /// Dials `address` anew, for evidence only, and says what came of it within `wait`.
    package func connectEvidence(at address: PeerAddress, within wait: Duration) async -> ConnectEvidence {
        guard !stopped, listener != nil, evidences.count < Self.evidenceMax else { return .silent }
        let number = nextNumber()
        do {
            let machine = try LinkMachine(role: .dialer, configuration: handshakeConfiguration(for: address))
            let connection = try TCPConnection(loop: loop)
            let timer = try LoopTimer(loop: loop) { [weak self] in
                self?.assumeIsolated { $0.endEvidence(number, nil) }
            }
            let probe = EvidenceProbe(machine: machine, connection: connection, timer: timer)
            evidences[number] = probe
            // The word has to be there before the asker's patience ends, not with it: timers and hops take a while.
            try probe.timer?.start(after: wait * 3 / 4)
            try probe.connection?.connect(to: SocketAddress(address)) { [weak self] error in
                self?.assumeIsolated { $0.evidenceConnected(number, error) }
            }
            return await withCheckedContinuation { continuation in
                if let outcome = probe.outcome {
                    continuation.resume(returning: outcome)
                } else {
                    probe.waiter = continuation
                }
            }
        } catch {
            evidences[number] = nil
            return .unreachable
        }
    }

    private func evidenceConnected(_ number: UInt64, _ error: UVError?) {
        guard let probe = evidences[number] else { return }
        if let error { return endEvidence(number, error.isConnectionRefused ? .refused : .unreachable) }
        probe.isConnected = true
        do {
            try probe.connection?.startReading { [weak self] event in
                self?.assumeIsolated { $0.evidenceRead(number, event) }
            }
            let hello = probe.machine.takeHandshakeOutput()
            try probe.connection?.write(hello) { _ in }
        } catch {
            endEvidence(number, .unreachable)
        }
    }

    private func evidenceRead(_ number: UInt64, _ event: TCPConnection.ReadEvent) {
        guard let probe = evidences[number] else { return }
        guard case .bytes(let bytes) = event else {
            // Closed before it said who it is: nobody of this cluster, or one that cannot take more links.
            return endEvidence(number, .accepted)
        }
        do {
            for case .established(let peer, let bootID) in try probe.machine.receive(bytes) {
                return endEvidence(number, .answered(peer: peer, bootID: bootID))
            }
        } catch {
            endEvidence(number, .accepted)
        }
    }

    /// Ends a probe; without an outcome its time is up.
    func endEvidence(_ number: UInt64, _ outcome: ConnectEvidence?) {
        guard let probe = evidences.removeValue(forKey: number) else { return }
        probe.finish(outcome ?? (probe.isConnected ? .accepted : .silent))
    }
}

/// One connection for evidence; lives on the loop's thread.
final class EvidenceProbe {
    var machine: LinkMachine
    var connection: TCPConnection?
    var timer: LoopTimer?
    var isConnected = false
    var waiter: CheckedContinuation<ConnectEvidence, Never>?
    private(set) var outcome: ConnectEvidence?

    init(machine: LinkMachine, connection: consuming TCPConnection, timer: consuming LoopTimer) {
        self.machine = machine
        self.connection = consume connection
        self.timer = consume timer
    }

    func finish(_ outcome: ConnectEvidence) {
        connection = nil
        timer = nil
        self.outcome = outcome
        waiter?.resume(returning: outcome)
        waiter = nil
    }
}
