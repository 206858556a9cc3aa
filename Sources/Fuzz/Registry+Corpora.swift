internal import CacheMap
internal import ClusterModel
internal import OCI
internal import Transfer

/// Valid messages of the cache map and of transfers.
extension Registry {
    static func digestMessages(_ keys: [CacheKey]) -> [[UInt8]] {
        guard let hashKey = MapHashKey(bytes: [UInt8](repeating: 7, count: 16)) else { return [] }
        var digest = CacheMapDigest(epoch: 3, hashKey: hashKey, clusterSize: 5, keys: keys.prefix(20))
        for key in keys.dropFirst(20) { digest.add(key) }
        var messages = digest.flush().map { DigestMessage.delta($0) }
        digest.remove(keys[0])
        messages += digest.flush().map { DigestMessage.delta($0) }
        messages.append(.request(DigestRequest(epoch: 3, sequence: 1)))
        messages += digest.answer(DigestRequest(epoch: 0, sequence: 0)).map { .pages($0) }
        messages += digest.answer(DigestRequest(epoch: 3, sequence: 1)).map { .pages($0) }
        return messages.map { $0.encoded() }
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
                LayerEntry(path: Array("bin/a".utf8), mode: 0o755, kind: .file(size: 3, content: digest)),
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
            .head(total: 1 << 33, [1, 2, 3]), .part([UInt8](repeating: 4, count: 40)),
            .want([0..<4, 7..<9], isLast: true),
            .content([.init(entry: 3, offset: 1 << 20, bytes: [5, 6, 7])]), .end, .failure("not here"),
        ]
        return messages.map { $0.encoded() }
    }
}
