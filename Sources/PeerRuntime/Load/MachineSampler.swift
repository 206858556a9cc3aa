internal import Glibc

/// What a load record says of the machine that a node runs on.
struct MachineSample: Hashable, Sendable {
    /// In 255ths of the processors' time.
    var cpuBusy: UInt8 = 0
    /// Bytes; 0 when not known.
    var memoryFree: UInt64 = 0
    /// Bytes; 0 when not known.
    var diskFree: UInt64 = 0

    /// A smaller change of the processors' share is none: a tenth.
    static let cpuStep: UInt8 = 26
    /// Nor is a smaller change of a size: an eighth, which is a step of load records.
    static let sizePart: UInt64 = 8

    /// Whether the difference is worth a load record, which each member hears of.
    func isNews(after told: MachineSample) -> Bool {
        max(cpuBusy, told.cpuBusy) - min(cpuBusy, told.cpuBusy) >= Self.cpuStep
            || Self.differ(memoryFree, told.memoryFree) || Self.differ(diskFree, told.diskFree)
    }

    private static func differ(_ one: UInt64, _ other: UInt64) -> Bool {
        let greater = max(one, other)
        return greater - min(one, other) > greater / sizePart
    }
}

/// Looks at processors, memory and disk, now and then.
actor MachineSampler {
    /// Least time between two looks; whoever asks sooner gets the last one.
    static let period = Duration.seconds(2)

    private let root: String
    private var sampledAt: ContinuousClock.Instant?
    private var times: ProcessorTimes?
    private var disk = DiskMark()
    private var told = MachineSample()

    /// `root` is a path on the disk that counts.
    init(root: String) {
        self.root = root
        times = Self.processorTimes
    }

    /// What to say of the machine: the last look, unless it differs too little from what was said before.
    func sample(at now: ContinuousClock.Instant = .now) -> MachineSample {
        if let sampledAt, sampledAt.duration(to: now) < Self.period { return told }
        sampledAt = now
        var fresh = told
        if let times = Self.processorTimes {
            if let before = self.times, let share = times.share(since: before) { fresh.cpuBusy = share }
            self.times = times
        }
        fresh.memoryFree = Self.memoryFree(KernelText.content(of:)) ?? 0
        let wasLow = disk.isLow
        fresh.diskFree = Self.diskFree(at: root).map { disk.told($0) } ?? 0
        if disk.isLow != wasLow || fresh.isNews(after: told) { told = fresh }
        return told
    }

    private static var processorTimes: ProcessorTimes? {
        KernelText.content(of: "/proc/stat").flatMap { ProcessorTimes(stat: $0) }
    }

    /// Bytes that the machine still has, or less where control groups give this process less.
    ///
    /// `content` gives the text of a file.
    static func memoryFree(_ content: (String) -> String?) -> UInt64? {
        let machine = content("/proc/meminfo").flatMap { KernelText.memoryAvailable(meminfo: $0) }
        let groups = MemoryGroup.around(cgroup: content("/proc/self/cgroup") ?? "")
        return (groups.compactMap { $0.free(content) } + [machine].compactMap(\.self)).min()
    }

    /// Bytes that the file system of `path` still takes; nil when it cannot be asked.
    static func diskFree(at path: String) -> UInt64? {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { return nil }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }
}
