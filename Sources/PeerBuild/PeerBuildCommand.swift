internal import ArgumentParser
internal import BuildClient
internal import Foundation
internal import Glibc

/// The `peerbuild` executable.
@main
struct PeerBuildCommand: AsyncParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "peerbuild",
        abstract: "Builds container images on a cluster of equal nodes.",
        version: version,
        subcommands: [
            NodeCommand.self, KeygenCommand.self, BuildCommand.self, StatusCommand.self, ExplainCommand.self,
            DiskUsageCommand.self, PruneCommand.self, DrainCommand.self, UncordonCommand.self, LeaveCommand.self,
            KeysCommand.self, StoreCommand.self, VersionCommand.self,
        ])

    static func main() async {
        // A reader that goes away is an error of the write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            leave(with: error)
        }
    }

    /// Says why and exits: 1 failed, 64 wrong use, 75 no node, 130 cancelled.
    private static func leave(with error: any Error) -> Never {
        switch error {
        case let error as BuildFailure:
            Terminal.printError(error.description)
            Foundation.exit(error.isCancelled ? ExitStatus.cancelled : ExitStatus.failed)
        case let error as UnreachableError:
            Terminal.printError("peerbuild: \(error)")
            Foundation.exit(ExitStatus.unreachable)
        case is CancellationError:
            Terminal.printError("peerbuild: cancelled")
            Foundation.exit(ExitStatus.cancelled)
        case is ExitCode, is ValidationError, is CleanExit: exit(withError: error)
        case let error as any CustomStringConvertible & UserFacing:
            Terminal.printError("peerbuild: \(error.description)")
            Foundation.exit(ExitStatus.failed)
        default: exit(withError: error)
        }
    }
}

/// What scripts see of how a command ended.
enum ExitStatus {
    static let failed: Int32 = 1
    /// EX_TEMPFAIL of sysexits.h: nobody answers now.
    static let unreachable: Int32 = 75
    /// 128 + SIGINT.
    static let cancelled: Int32 = 130
}

/// Errors whose description is the whole message for the user.
protocol UserFacing: Error {}

extension CallFailure: UserFacing {}
extension NodeAddressError: UserFacing {}
extension DockerConfigError: UserFacing {}
