internal import CacheMap
internal import ClusterModel
internal import Foundation
internal import OCI
internal import Snapshots

extension Node {
    package func diskUsage() async throws -> DiskUsageReport {
        let used = try store.layerUsage()
        var records: [CacheUsage] = []
        for layer in try parts.snapshots.list() {
            var usage = CacheUsage(
                id: layer.hex, kind: "regular", size: try parts.snapshots.bytes(of: layer), created: created(layer))
            usage.isShared = (used[layer] ?? 0) > 1
            usage.useCount = Int64(used[layer] ?? 0)
            usage.text = try store.keys(using: layer).first.flatMap { try store.record(for: $0)?.description } ?? ""
            records.append(usage)
        }
        let values = try URL(fileURLWithPath: settings.root).resourceValues(forKeys: [.volumeAvailableCapacityKey])
        return DiskUsageReport(records: records, freeBytes: Int64(values.volumeAvailableCapacity ?? 0))
    }

    private func created(_ layer: Digest) -> Int64 {
        let attributes = try? FileManager.default.attributesOfItem(atPath: parts.snapshots.contentPath(of: layer))
        let date = attributes?[.modificationDate] as? Date
        return Int64((date?.timeIntervalSince1970 ?? 0) * 1_000_000_000)
    }

    package func removeUsage(ids: [String]) async throws -> [CacheUsage] {
        let known = Dictionary(try await diskUsage().records.map { ($0.id, $0) }) { first, _ in first }
        // What is served, built on or promised to a peer stays, and its records with it.
        let wanted = ids.compactMap { known[$0] == nil ? nil : Digest(hex: $0) }
        let layers = records.condemn(wanted.filter { !parts.snapshots.isNeeded($0) })
        defer { records.finishCollection(of: layers) }
        // Nobody must be told of a record whose layers go: the keys first, a period later the records, then the layers.
        let keys = Set(try layers.flatMap { try store.keys(using: $0) })
        await digests.remove(try keys.flatMap { try [$0] + store.aliases(of: $0) })
        if !keys.isEmpty, !cluster.livePeers.isEmpty { try await Task.sleep(for: gossipPeriod) }
        for key in keys { try store.delete(key) }
        var removed: [CacheUsage] = []
        for layer in layers {
            guard let usage = known[layer.hex] else { continue }
            do {
                try parts.snapshots.remove(layer)
                removed.append(usage)
            } catch SnapshotError.layerInUse {
                continue
            }
        }
        return removed
    }
}
