internal import BuildKitProtocol
internal import FoundationEssentials
internal import PeerRuntime

/// Which records `prune` removes.
struct UsageSelection {
    private let request: Moby_Buildkit_V1_PruneRequest
    private let filters: UsageFilter

    init(_ request: Moby_Buildkit_V1_PruneRequest, filters: UsageFilter) {
        self.request = request
        self.filters = filters
    }

    /// Nanoseconds since 1970.
    static func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1e9) }

    /// The ids to remove, longest unused first.
    ///
    /// Without a target of bytes everything that matches goes. With one, removing stops as soon as the total is at most
    /// `reservedSpace`, or both at most `maxUsedSpace` and with `minFreeSpace` free.
    func select(from report: DiskUsageReport, now: Int64) -> [String] {
        var total = report.records.reduce(0) { $0 + $1.size }
        var free = report.freeBytes
        let candidates = report.records.filter { record in
            guard !record.isInUse, filters.matches(record) else { return false }
            guard request.all || (record.kind != "internal" && record.kind != "frontend") else { return false }
            return request.keepDuration == 0 || (record.lastUsed ?? record.created) <= now - request.keepDuration
        }
        let ordered = candidates.sorted { left, right in
            let (leftTime, rightTime) = (left.lastUsed ?? left.created, right.lastUsed ?? right.created)
            return leftTime == rightTime ? left.id < right.id : leftTime < rightTime
        }
        var selected: [String] = []
        for record in ordered {
            if isEnough(total: total, free: free) { break }
            selected.append(record.id)
            total -= record.size
            free += record.size
        }
        return selected
    }

    private func isEnough(total: Int64, free: Int64) -> Bool {
        let hasCeiling = request.maxUsedSpace > 0 || request.minFreeSpace > 0
        guard hasCeiling || request.reservedSpace > 0 else { return false }
        if total <= request.reservedSpace { return true }
        guard hasCeiling else { return false }
        return (request.maxUsedSpace == 0 || total <= request.maxUsedSpace)
            && (request.minFreeSpace == 0 || free >= request.minFreeSpace)
    }
}
