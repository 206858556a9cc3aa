internal import CacheMap
internal import ClusterModel
internal import OCI
internal import Transfer
internal import Wire

/// Valid messages of the cache map and of transfers.
extension Registry {
    static func digestMessages(_ keys: [CacheKey]) -> [[UInt8]] {
        guard let hashKey = MapHashKey(bytes: [UInt8](repeating: 7, count: 16)) else { return [] }
        let entries = keys.map { MapEntry(key: $0, cost: 3, lastUsed: 1_700_000_000) }
        var digest = CacheMapDigest(epoch: 3, hashKey: hashKey, clusterSize: 5, entries: entries.prefix(20))
        let now = MonotonicInstant.zero
        for entry in entries.dropFirst(20) { digest.add(entry) }
        var messages = digest.flush(at: now).map { DigestMessage.delta($0) }
        digest.remove(keys[0])
        messages += digest.flush(at: now).map { DigestMessage.delta($0) }
        for request in [DigestRequest(epoch: 3, sequence: 1), DigestRequest(epoch: 0, sequence: 0)] {
            messages.append(.request(request))
            messages += digest.answer(request, at: now).map { .pages($0) }
        }
        messages += [
            .moved(digest.position), .buckets([UInt32](repeating: 9, count: DigestMessage.bucketCount)),
            .summaries([MapSummary(owner: PeerID(rawValue: 4), position: digest.position)]), .summaryRequest,
            .have(HaveRequest(number: 7, keys: keys)),
        ]
        return messages.map { $0.encoded() }
    }

    /// What a node of a link sends: a question and an announcement.
    static var linkMessages: [[UInt8]] {
        let addresses = ["10.0.0.7", "fd00::7"].map { PeerAddress(host: $0, port: 7_946) }
        var beacon = LinkBeacon(id: PeerID(rawValue: 7), addresses: addresses, random: SplitMix64(seed: 7))
        _ = beacon.handle(.start, at: .zero)
        return beacon.handle(.timer, at: .zero + .seconds(1)).compactMap { effect in
            if case .send(let bytes) = effect { bytes } else { nil }
        }
    }

    static func savedPosition(_ keys: [CacheKey]) -> [UInt8] {
        let position = MapPosition(epoch: 3, sequence: 9, root: 77)
        return SavedPosition(position: position, rate: FalseHitRate(clusterSize: keys.count)).encoded()
    }

    static var haveAnswers: [[UInt8]] {
        [[nil, 5, nil, 1 << 40], [UInt64?](repeating: 9, count: 35), []].map { sizes in
            HaveAnswer(number: 3, sizes: sizes, leaseMilliseconds: 30_000, running: 1, queued: 2).encoded()
        }
    }

    static var manifests: [[UInt8]] {
        let digest = Digest.of([1, 2, 3])
        let trees: [[LayerEntry]] = [
            [],
            [
                LayerEntry(path: Array("bin".utf8), mode: 0o755, kind: .directory(isOpaque: true)),
                LayerEntry(path: Array("bin/a".utf8), mode: 0o755, kind: .file(size: 3, content: .init(whole: digest))),
                LayerEntry(path: Array("bin/b".utf8), mode: 0o755, kind: .hardlink(target: Array("bin/a".utf8))),
                LayerEntry(path: Array("bin/c".utf8), mode: 0o777, kind: .symlink(target: Array("a".utf8))),
                LayerEntry(path: Array("dev".utf8), mode: 0o600, kind: .characterDevice(major: 1, minor: 3)),
                LayerEntry(path: Array("fifo".utf8), mode: 0o600, kind: .fifo),
                .whiteout(Array("gone".utf8)),
            ],
        ]
        return trees.compactMap { try? LayerManifest(entries: $0).encoded() }
    }

    static var transferMessages: [[UInt8]] {
        let messages: [TransferMessage] = [
            .head(total: 1 << 33, [1, 2, 3]), .part([UInt8](repeating: 4, count: 40)[...]),
            .askManifest, .manifest(total: 70_000), .want(request: 3, [0..<4, 7..<9]),
            .pack(.init(request: 3, coding: .zstd, plainBytes: 90, encodedBytes: 40, bytes: [5, 6, 7])),
            .askOutline(request: 1, [2..<3]), .outline(request: 1, [.init(length: 600, key: 7)]),
            .wantPieces(request: 1, [2..<3], pieces: [0..<1]), .failure("not here"),
        ]
        return messages.map { $0.encoded() }
    }
}
