internal import CSeccomp
internal import Foundation
internal import Glibc

/// A `SeccompProfile` as the kernel's BPF program, compiled once for all steps of a node.
///
/// Compiling takes longer than all else that crun does to start a container, and crun before 1.9 does it for every one.
/// Such a runtime is given the program in an annotation; other runtimes compile the profile of the configuration, which
/// says the same.
enum SeccompFilter {
    /// The annotation in which crun takes a program, base64 of `struct sock_filter` items (crun(1)).
    static let annotation = "run.oci.seccomp_bpf_data"

    /// BPF programs have at most 4,096 instructions of 8 bytes (BPF_MAXINSNS).
    private static let programBytesMax = 4_096 * 8

    /// The program in base64; nil where libseccomp can't make it, so that the runtime tries and says why.
    static let encodedProgram: String? = program().map { Data($0).base64EncodedString() }

    private static func program() -> [UInt8]? {
        guard let context = seccomp_init(code(of: SeccompProfile.defaultAction)) else { return nil }
        defer { seccomp_release(context) }
        for name in SeccompProfile.architectures {
            let result = seccomp_arch_add(context, seccomp_arch_resolve_name(name))
            guard result == 0 || result == -EEXIST else { return nil }
        }
        for rule in SeccompProfile.rules {
            var arguments = rule.condition.map { [comparison($0)] } ?? []
            for call in rule.calls {
                let number = seccomp_syscall_resolve_name(call)
                // A library older than the call: it stays forbidden, as with a runtime that does not know it.
                if number == unknownCall { continue }
                let result = seccomp_rule_add_array(
                    context, code(of: rule.action), number, UInt32(arguments.count), &arguments)
                guard result == 0 else { return nil }
            }
        }
        return exported(context)
    }

    private static func exported(_ context: scmp_filter_ctx) -> [UInt8]? {
        // A pipe holds more than the largest program, so that nobody has to read while it is written.
        guard let pipe = try? Pipe(), seccomp_export_bpf(context, pipe.writing.number) == 0 else { return nil }
        pipe.closeWriting()
        return try? pipe.reading.readAll(bytesMax: programBytesMax, name: "the seccomp program")
    }

    /// __NR_SCMP_ERROR of seccomp.h.
    private static let unknownCall: Int32 = -1
    /// SCMP_ACT_ERRNO of seccomp.h, without its errno.
    private static let errnoAction: UInt32 = 0x0005_0000

    private static func code(of action: SeccompProfile.Action) -> UInt32 {
        switch action {
        case .allow: SCMP_ACT_ALLOW
        case .errno(let number): errnoAction | UInt32(number)
        }
    }

    private static func comparison(_ condition: SeccompProfile.Condition) -> scmp_arg_cmp {
        switch condition {
        case .equal(let argument, let value):
            scmp_arg_cmp(arg: argument, op: SCMP_CMP_EQ, datum_a: value, datum_b: 0)
        case .notEqual(let argument, let value):
            scmp_arg_cmp(arg: argument, op: SCMP_CMP_NE, datum_a: value, datum_b: 0)
        case .masked(let argument, let mask, let value):
            scmp_arg_cmp(arg: argument, op: SCMP_CMP_MASKED_EQ, datum_a: mask, datum_b: value)
        }
    }
}
