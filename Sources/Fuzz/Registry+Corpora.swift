internal import CacheMap
internal import ClusterModel
internal import OCI
internal import Transfer
internal import Wire

/// Valid messages of the cache map and of transfers.
extension Registry {
    static var digestHashKey: MapHashKey? { MapHashKey(bytes: [UInt8](repeating: 7, count: 16)) }

    static func digestMessages(_ keys: [CacheKey]) -> [[UInt8]] {
        guard let hashKey = digestHashKey else { return [] }
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

    /// Pages in each encoding, and an empty one.
    static func digestPages(_ keys: [CacheKey]) -> [[UInt8]] {
        guard let hashKey = digestHashKey else { return [] }
        let entries = keys.map { MapEntry(key: $0, cost: 3, lastUsed: 1_700_000_000) }
        return DigestPage.Encoding.allCases.flatMap { encoding -> [[UInt8]] in
            var settings = CacheMapDigest.Settings()
            settings.encoding = encoding
            return [entries, [MapEntry]()].flatMap { held -> [[UInt8]] in
                var digest = CacheMapDigest(
                    epoch: 3, hashKey: hashKey, clusterSize: 5, entries: held, settings: settings)
                return digest.pages().map { $0.encoded() }
            }
        }
    }

    static func mapDeltas(_ keys: [CacheKey]) -> [[UInt8]] {
        digestMessages(keys).compactMap { bytes -> [UInt8]? in
            guard case .delta? = try? DigestMessage(decoding: bytes) else { return nil }
            return Array(bytes.dropFirst(DigestMessage.tagBytes))
        }
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
        let blockBytes = Int64(ChunkedContent.blockBytes)
        let chunks: [ChunkedContent.Piece] = [
            .init(digest: digest, length: 20_000), .init(digest: Digest.of([4]), length: blockBytes - 20_000),
            .init(digest: nil, length: blockBytes), .init(digest: Digest.of([5]), length: 7),
        ]
        let attributes = [
            ExtendedAttribute(name: Array("security.capability".utf8), value: [1, 0, 0, 2]),
            ExtendedAttribute(name: Array("user.empty".utf8), value: []),
        ]
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
            [
                LayerEntry(
                    path: Array("chunks".utf8), mode: 0o4755, uid: 70_000, gid: .max,
                    modified: FileTime(seconds: -5, nanoseconds: 999_999_999), attributes: attributes,
                    kind: .file(size: 2 * blockBytes + 7, content: ChunkedContent(pieces: chunks))),
                LayerEntry(
                    path: Array("hole".utf8), mode: 0o600,
                    kind: .file(
                        size: 1 << 40, content: ChunkedContent(pieces: [.init(digest: nil, length: 1 << 40)]))),
                LayerEntry(
                    path: Array("one".utf8), mode: 0o600,
                    kind: .file(
                        size: 70_000, content: ChunkedContent(pieces: [.init(digest: digest, length: 70_000)]))),
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
            .wantPieces(request: 1, [2..<3], pieces: [0..<1]), .failure("not here"), .waiting,
        ]
        return messages.map { $0.encoded() }
    }
}
