/// A control group that may bound this process's memory, of version 2 or 1 (cgroups(7)).
struct MemoryGroup: Hashable, Sendable {
    private static let mountPoint = "/sys/fs/cgroup"
    private static let controller = "memory"
    /// Deepest nesting that is looked at.
    private static let depthMax = 16

    let directory: String
    /// Of the unified hierarchy, version 2.
    let isUnified: Bool

    /// The process's own group and those around it, the innermost first: each of them bounds it.
    ///
    /// `text` is that of `/proc/self/cgroup`. In a container the path may be one of the machine outside; of its groups
    /// only the outermost is there then, which is the container's own.
    static func around(cgroup text: String) -> [MemoryGroup] {
        var unified: [MemoryGroup] = []
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            // A controller that has a hierarchy of version 1 is none of version 2.
            if fields[1].split(separator: ",").contains(where: { $0 == controller }) {
                return groups(below: mountPoint + "/" + controller, path: fields[2], isUnified: false)
            }
            if fields[0] == "0", fields[1].isEmpty {
                unified = groups(below: mountPoint, path: fields[2], isUnified: true)
            }
        }
        return unified
    }

    private static func groups(below root: String, path: Substring, isUnified: Bool) -> [MemoryGroup] {
        // `..` leads to what lies outside of the process's namespace.
        let names = path.split(separator: "/").filter { $0 != ".." }.prefix(depthMax)
        return (0...names.count).reversed().map { depth in
            MemoryGroup(
                directory: ([root] + names.prefix(depth).map(String.init)).joined(separator: "/"),
                isUnified: isUnified)
        }
    }

    /// Bytes that its processes could still get; nil without a limit.
    ///
    /// Pages of files that nobody has used lately count as free: the kernel gives them up before it refuses memory.
    /// `content` gives the text of a file.
    func free(_ content: (String) -> String?) -> UInt64? {
        let (limitFile, usageFile, pages) =
            isUnified
            ? ("memory.max", "memory.current", "inactive_file")
            : ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        guard let limit = content("\(directory)/\(limitFile)").flatMap({ KernelText.number($0) }),
            let usage = content("\(directory)/\(usageFile)").flatMap({ KernelText.number($0) })
        else { return nil }
        let reclaimable =
            content("\(directory)/memory.stat").flatMap { KernelText.number(named: pages, in: $0) } ?? 0
        let held = usage - min(usage, reclaimable)
        return limit - min(limit, held)
    }
}
