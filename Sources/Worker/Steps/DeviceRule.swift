internal import CLinux

/// What a step may do with device nodes of a kind.
///
/// Sources: OCI runtime spec, "Allowed Device list"; kernel documentation, cgroup-v1/devices and `linux/bpf.h`.
struct DeviceRule {
    enum NodeType: String {
        case character = "c"
        case block = "b"
    }

    var type: NodeType
    /// Nil is any.
    var major: Int64?
    var minor: Int64?
    /// Of `r`, `w` and `m` for making the node.
    var access = "rwm"

    /// Making any node is allowed, opening only the harmless ones.
    ///
    /// These are null, zero, full, random, urandom, tty, console, ptmx and pseudo terminals.
    static let ofSteps: [DeviceRule] =
        [DeviceRule(type: .character, access: "m"), DeviceRule(type: .block, access: "m")]
        + [3, 5, 7, 8, 9].map { DeviceRule(type: .character, major: 1, minor: $0) }
        + [0, 1, 2].map { DeviceRule(type: .character, major: 5, minor: $0) }
        + [DeviceRule(type: .character, major: 136)]

    /// As `devices.allow` of a v1 group takes it.
    var line: String {
        let numbers = [major, minor].map { $0.map(String.init) ?? "*" }
        return "\(type.rawValue) \(numbers[0]):\(numbers[1]) \(access)"
    }

    /// As the program of a v2 group takes it.
    var raw: clinux_device_rule {
        var bits: UInt32 = 0
        for (letter, bit) in [("m", 1), ("r", 2), ("w", 4)] as [(Character, UInt32)] where access.contains(letter) {
            bits |= bit
        }
        return clinux_device_rule(
            type: type == .block ? 1 : 2, access: bits, major: major ?? -1, minor: minor ?? -1)
    }
}
