internal import Gossip
internal import OCI
internal import Snapshots

/// What a node says of its load and of what it holds.
extension Node {
    private static let loadPeriod = Duration.seconds(1)

    /// Reports the load again and again until the task is cancelled.
    func watchLoad() async {
        while !Task.isCancelled {
            await reportLoad()
            do {
                try await Task.sleep(for: Self.loadPeriod)
            } catch {
                return
            }
        }
    }

    func reportLoad() async {
        let sample = await machine.sample()
        let load = slots.current
        let position = await digests.position
        var record = LoadRecord()
        record.slots = UInt16(clamping: slots.count)
        record.running = UInt16(clamping: load.running)
        record.queued = UInt16(clamping: load.queued)
        record.cpuBusy = sample.cpuBusy
        record.memoryFree = sample.memoryFree
        record.diskFree = sample.diskFree
        record.platform = UInt8(clamping: settings.platforms.firstIndex(of: .host) ?? 0)
        record.keySet = await keys.keySet
        await cluster.setLoad(record)
        var holdings = Holdings()
        holdings.cacheKeys = UInt32(clamping: position.count)
        holdings.cacheBytes = UInt64(clamping: (try? parts.snapshots.usage()) ?? 0)
        holdings.mapEpoch = position.epoch
        holdings.mapSequence = position.sequence
        await cluster.setHoldings(holdings)
    }
}
