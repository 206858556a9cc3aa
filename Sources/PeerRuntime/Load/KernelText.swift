internal import Glibc

/// What the kernel says of itself in text, below `/proc` and `/sys`.
enum KernelText {
    /// Longest text that is read; of `/proc/stat` only the first line is of use.
    private static let bytesMax = 16_384
    private static let kibibyteShift = 10

    /// The text of a file, cut off at 16 KiB; nil when there is none that may be read.
    static func content(of path: String) -> String? {
        let file = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        let bytes = [UInt8](unsafeUninitializedCapacity: bytesMax) { buffer, count in
            guard let start = buffer.baseAddress else { return }
            while count < buffer.count {
                let taken = Glibc.read(file, start + count, buffer.count - count)
                guard taken > 0 else { return }
                count += taken
            }
        }
        return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
    }

    /// A text that is one number; nil for others, such as the `max` of a group without a limit.
    static func number(_ text: String) -> UInt64? { text.split { $0.isWhitespace }.first.flatMap { UInt64($0) } }

    /// The number in the line `NAME NUMBER`, as `memory.stat` has them.
    static func number(named name: String, in text: String) -> UInt64? {
        for line in text.split(separator: "\n") {
            let fields = line.split { $0.isWhitespace }
            if fields.count > 1, fields[0] == name { return UInt64(fields[1]) }
        }
        return nil
    }

    /// `MemAvailable` of `/proc/meminfo` (proc_meminfo(5)) in bytes: what processes get without swapping.
    static func memoryAvailable(meminfo text: String) -> UInt64? {
        number(named: "MemAvailable:", in: text).map { $0 << kibibyteShift }
    }
}
