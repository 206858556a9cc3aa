/// What the processors of this machine have done since its start, all together, in clock ticks.
struct ProcessorTimes: Hashable, Sendable {
    /// Fields of the line that are looked at: user, nice, system, idle, iowait, irq, softirq and steal.
    ///
    /// Those behind, the guests', are part of user and nice.
    private static let fieldsMax = 8
    /// Older kernels end with idle.
    private static let fieldsMin = 4
    private static let idleField = 3
    /// Waiting for a disk is being idle, too.
    private static let diskWaitField = 4
    private static let shareMax = 255.0

    let busy: UInt64
    let total: UInt64

    /// The share that was used since `earlier`, in 255ths, as load records have it.
    ///
    /// Nil when no time has passed, or when the counters went back, as that of waiting for disks may.
    func share(since earlier: ProcessorTimes) -> UInt8? {
        guard total > earlier.total, busy >= earlier.busy else { return nil }
        let share = Double(busy - earlier.busy) / Double(total - earlier.total)
        return UInt8((min(1, share) * Self.shareMax).rounded())
    }
}

extension ProcessorTimes {
    /// Parses the first line of `/proc/stat` (proc_stat(5)); nil when it is none of all processors.
    init?(stat text: String) {
        guard let line = text.split(separator: "\n", maxSplits: 1).first else { return nil }
        let fields = line.split { $0.isWhitespace }
        guard fields.first == "cpu" else { return nil }
        let ticks = fields.dropFirst().prefix(Self.fieldsMax).map { UInt64($0) ?? 0 }
        guard ticks.count >= Self.fieldsMin else { return nil }
        let idle = ticks[Self.idleField] + (ticks.count > Self.diskWaitField ? ticks[Self.diskWaitField] : 0)
        let total = ticks.reduce(0, +)
        self.init(busy: total - idle, total: total)
    }
}
