/// Why an operation failed; the descriptions are the texts that clients of BuildKit know.
package enum OperationError: Error, Hashable, Sendable {
    /// The step's process ended with a code that is not among the valid ones; 128 + n after signal n.
    case exit(arguments: [String], code: Int32)
    /// The step failed, and the file system that holds the node's state has no room left.
    case diskFull(arguments: [String], code: Int32, path: String, bytesFree: Int64)
    /// The OCI runtime could not start the step's process; `reason` is the runtime's own text.
    case notStarted(arguments: [String], reason: String)
    /// No OCI runtime was found at the places that were searched.
    case runtimeMissing(searched: [String])
    /// A path of an operation does not exist in its input.
    case notFound(path: String)
    case secretNotFound(id: String)
    case sshAgentNotFound(id: String)
    case userNotFound(String)
    case groupNotFound(String)
    /// The operation needs an entitlement that the build does not have.
    case entitlementMissing(String)
    /// The step is for a platform that neither the processor nor a registered emulator can run.
    case platformUnsupported(requested: String, host: String)
    /// A system call failed; `call` names it with its path, `code` is the errno.
    case system(call: String, code: Int32)
    /// The operation's message makes no sense; the text says what and where.
    case invalid(String)
    /// The operation is valid, but this node cannot do it; the text says why and what helps.
    case unsupported(String)
}

extension OperationError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .exit(let arguments, let code): Self.processFailed(arguments, "exit code: \(code)")
        case .diskFull(let arguments, let code, let path, let bytesFree):
            Self.processFailed(
                arguments,
                "exit code: \(code): no space left on device: \(path) has \(bytesFree) bytes free; free space or prune")
        case .notStarted(let arguments, let reason): Self.processFailed(arguments, reason)
        case .runtimeMissing(let searched):
            "no OCI runtime found (searched \(searched.joined(separator: ", "))); install crun or runc, or configure its path"
        case .notFound(let path): "\"\(path)\": not found"
        case .secretNotFound(let id): "secret \(id): not found"
        case .sshAgentNotFound(let id): "ssh agent \(id): not found; expose it with --ssh \(id)"
        case .userNotFound(let name): "unable to find user \(name): no matching entries in passwd file"
        case .groupNotFound(let name): "unable to find group \(name): no matching entries in group file"
        case .entitlementMissing(let name): "\(name) is not allowed"
        case .platformUnsupported(let requested, let host):
            "cannot run a step for \(requested) on \(host): no emulator is registered; "
                + "install binfmt_misc handlers (such as qemu-user-static) or add a node of that platform"
        case .system(let call, let code): "\(call): \(SystemErrorText.of(code))"
        case .invalid(let text), .unsupported(let text): text
        }
    }

    private static func processFailed(_ arguments: [String], _ reason: String) -> String {
        "process \"\(arguments.joined(separator: " "))\" did not complete successfully: \(reason)"
    }
}

extension OperationError {
    /// The exit code of the step's process, which clients receive as `ExitMessage`; nil for other failures.
    package var exitCode: Int32? {
        switch self {
        case .exit(_, let code), .diskFull(_, let code, _, _): code
        default: nil
        }
    }
}
