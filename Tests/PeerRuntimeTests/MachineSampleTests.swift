import ClusterModel
import Foundation
import Testing

@testable import Gossip
@testable import PeerRuntime

/// What a load record says of the machine: the kernel's texts, and what of a change is told.
struct MachineSampleTests {
    private static let stat = """
        cpu  2718121 140279 553146 1981159 16460 0 10874 16769 7 3
        cpu0 1323550 70225 264060 1044477 3563 0 3680 8335 0 0
        intr 1 2 3
        """

    private static let meminfo = """
        MemTotal:       16316412 kB
        MemFree:          812340 kB
        MemAvailable:    9216000 kB
        """

    // MARK: Processors

    @Test func `all processors' time is read, and waiting for a disk is being idle`() throws {
        let times = try #require(ProcessorTimes(stat: Self.stat))
        #expect(times.busy == 2_718_121 + 140_279 + 553_146 + 10_874 + 16_769)
        #expect(times.total == times.busy + 1_981_159 + 16_460)
        #expect(ProcessorTimes(stat: "cpu 1 2 3 4") == ProcessorTimes(busy: 6, total: 10))
    }

    @Test(arguments: ["", "cpu", "cpu 1 2 3", "cpu0 1 2 3 4", "intr 1 2 3 4"])
    func `a text of something else is no processors' time`(text: String) {
        #expect(ProcessorTimes(stat: text) == nil)
    }

    @Test func `the share is of the time since the last look, and none when no time has passed or it went back`() {
        let earlier = ProcessorTimes(busy: 100, total: 1_000)
        #expect(ProcessorTimes(busy: 100, total: 1_200).share(since: earlier) == 0)
        #expect(ProcessorTimes(busy: 200, total: 1_200).share(since: earlier) == 128)
        #expect(ProcessorTimes(busy: 300, total: 1_200).share(since: earlier) == 255)
        #expect(ProcessorTimes(busy: 301, total: 1_200).share(since: earlier) == 255)
        #expect(earlier.share(since: earlier) == nil)
        #expect(ProcessorTimes(busy: 99, total: 1_200).share(since: earlier) == nil)
    }

    // MARK: Memory

    @Test func `the groups around a process are those of memory's own hierarchy, else the unified ones`() {
        let unified = MemoryGroup.around(cgroup: "0::/system.slice/peerbuild.service\n")
        #expect(
            unified.map(\.directory) == [
                "/sys/fs/cgroup/system.slice/peerbuild.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup",
            ])
        let allUnified = unified.allSatisfy(\.isUnified)
        #expect(allUnified)
        let split = MemoryGroup.around(cgroup: "4:memory:/a\n3:cpuset:/b\n0::/c\n")
        #expect(split.map(\.directory) == ["/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory"])
        let anyUnified = split.contains(where: \.isUnified)
        #expect(!anyUnified)
        #expect(MemoryGroup.around(cgroup: "0::/../../x\n").map(\.directory) == ["/sys/fs/cgroup/x", "/sys/fs/cgroup"])
        #expect(MemoryGroup.around(cgroup: "").isEmpty && MemoryGroup.around(cgroup: "0:/").isEmpty)
    }

    @Test func `memory is what the machine has, or less where a group of either version gives less`() {
        let gigabyte: UInt64 = 1 << 30
        var files = ["/proc/meminfo": Self.meminfo]
        func free() -> UInt64? { MachineSampler.memoryFree { files[$0] } }
        #expect(free() == 9_216_000 << 10)
        files["/proc/self/cgroup"] = "0::/a/b\n"
        files["/sys/fs/cgroup/a/b/memory.max"] = "max\n"
        files["/sys/fs/cgroup/a/b/memory.current"] = "5\n"
        #expect(free() == 9_216_000 << 10)
        // The one around it is bounded, and half of what it holds are pages of files.
        files["/sys/fs/cgroup/a/memory.max"] = "\(4 * gigabyte)\n"
        files["/sys/fs/cgroup/a/memory.current"] = "\(2 * gigabyte)\n"
        #expect(free() == 2 * gigabyte)
        files["/sys/fs/cgroup/a/memory.stat"] = "anon 17\ninactive_file \(gigabyte)\n"
        #expect(free() == 3 * gigabyte)
        files["/proc/self/cgroup"] = "4:memory:/c\n0::/a/b\n"
        files["/sys/fs/cgroup/memory/c/memory.limit_in_bytes"] = "\(gigabyte)\n"
        files["/sys/fs/cgroup/memory/c/memory.usage_in_bytes"] = "\(2 * gigabyte)\n"
        #expect(free() == 0)
        files = [:]
        #expect(free() == nil)
    }

    // MARK: What is told

    @Test func `a disk is low by gossip's own mark, and until a quarter more is free`() {
        #expect(DiskMark.lowBytes == LoadRecord.diskLowBytes)
        var mark = DiskMark()
        func isTold(_ free: UInt64) -> Bool {
            var record = LoadRecord()
            record.diskFree = mark.told(free)
            #expect((record.rounded.loadClass == .diskLow) == mark.isLow && record.rounded.isDiskLow == mark.isLow)
            return mark.isLow
        }
        #expect(!isTold(DiskMark.lowBytes))
        #expect(isTold(DiskMark.lowBytes - 1))
        #expect(isTold(DiskMark.lowBytes) && isTold(DiskMark.wellBytes - 1))
        #expect(!isTold(DiskMark.wellBytes))
        // A full disk is not one of which nothing is known.
        #expect(isTold(0))
    }

    @Test func `a small change is not told, and many small ones are once they are a large one`() {
        let told = MachineSample(cpuBusy: 100, memoryFree: 800, diskFree: 8_000)
        #expect(!MachineSample(cpuBusy: 125, memoryFree: 700, diskFree: 7_000).isNews(after: told))
        #expect(MachineSample(cpuBusy: 126, memoryFree: 800, diskFree: 8_000).isNews(after: told))
        #expect(MachineSample(cpuBusy: 74, memoryFree: 800, diskFree: 8_000).isNews(after: told))
        #expect(MachineSample(cpuBusy: 100, memoryFree: 699, diskFree: 8_000).isNews(after: told))
        #expect(MachineSample(cpuBusy: 100, memoryFree: 800, diskFree: 9_200).isNews(after: told))
        #expect(!MachineSample().isNews(after: MachineSample()))
    }

    @Test func `the machine is looked at once in two seconds at most`() async throws {
        let sampler = MachineSampler(root: "/")
        let start = ContinuousClock.now
        let first = await sampler.sample(at: start)
        #expect(first.memoryFree > 0 && first.memoryFree <= ProcessInfo.processInfo.physicalMemory)
        #expect(first.diskFree > 0)
        #expect(await sampler.sample(at: start + MachineSampler.period - .nanoseconds(1)) == first)
        let gone = MachineSampler(root: "/nowhere at all")
        #expect(await gone.sample().diskFree == 0)
    }

    // MARK: Placement

    private static func member(_ id: UInt64, _ change: (inout Member) -> Void = { _ in }) -> Member {
        var member = Member(
            id: PeerID(rawValue: id), bootID: 1, incarnation: 0, state: .alive,
            metadata: MemberMetadata(name: "n\(id)", address: PeerAddress(host: "10.0.0.1", port: 1)),
            load: LoadRecord())
        change(&member)
        return member
    }

    @Test func `who was late or has a low disk gets work only when nobody else can take it`() {
        let well = Self.member(1) { $0.load.diskFree = DiskMark.lowBytes }
        let unknown = Self.member(2)
        let low = Self.member(3) { $0.load.diskFree = DiskMark.lowBytes - 1 }
        let late = Self.member(4) { $0.load.flags = .stalled }
        let silent = Self.member(5) { $0.condition = .stalled }
        #expect(Placer.able([well, low, unknown, late, silent], needsOne: true) == [well, unknown])
        #expect(Placer.able([low, late], needsOne: true) == [low, late])
        #expect(Placer.able([low, late], needsOne: false).isEmpty)
    }
}
