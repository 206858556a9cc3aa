internal import ClusterModel

// Records of gossip and datagrams.
extension MapExchange {
    mutating func deliver(_ bytes: [UInt8], from peer: PeerID, at now: MonotonicInstant) {
        do throws(CodecError) {
            switch try DigestMessage(decoding: bytes) {
            case .delta(let delta):
                counters.deltasReceived += 1
                guard isFollowed(peer) else { return }
                let outcome = digests.apply(delta, from: peer)
                if outcome == .behind { counters.gaps += 1 }
                let target = MapPosition(epoch: delta.epoch, sequence: delta.sequence, root: 0)
                follow(outcome, peer, target: target, at: now)
            case .moved(let position):
                guard isFollowed(peer) else { return }
                follow(digests.observe(position, of: peer), peer, target: position, at: now)
            default: throw .invalid(field: "digest record")
            }
        } catch {
            malformed(peer, error)
        }
    }

    /// A digest is begun and kept up only for a member that is up: one that was forgotten would come back with a late
    /// record, and nobody would say that it is down.
    private func isFollowed(_ peer: PeerID) -> Bool { peers[peer]?.isLive == true }

    mutating func direct(_ bytes: [UInt8], from peer: PeerID, at now: MonotonicInstant) {
        do throws(CodecError) {
            switch try DigestMessage(decoding: bytes) {
            case .buckets(let theirs): answer(theirs, peer)
            case .summaries(let summaries): observe(summaries, at: now)
            case .have(let request): effects.append(.asked(request, by: peer))
            case .haveAnswer(let answer): effects.append(.answered(answer, by: peer))
            default: throw .invalid(field: "digest datagram")
            }
        } catch {
            malformed(peer, error)
        }
    }

    /// One datagram of summaries of the buckets that differ; what does not fit has its turn next time.
    private mutating func answer(_ theirs: [UInt32], _ peer: PeerID) {
        let mine = bucketRoots()
        let differing = summaries().filter { summary in
            let bucket = Self.bucket(of: summary.owner)
            return mine[bucket] != theirs[bucket]
        }.sorted { $0.owner < $1.owner }
        guard !differing.isEmpty else { return }
        let count = min(differing.count, DigestMessage.summaries(fitting: settings.datagramBytesMax))
        let start = differing.count > count ? summaryTurn % differing.count : 0
        summaryTurn += count
        let chosen = (0..<count).map { differing[(start + $0) % differing.count] }
        effects.append(.direct(DigestMessage.summaries(chosen).encoded(), to: peer))
    }
}
