internal import ArgumentParser
internal import Foundation

/// `peerbuild keygen`.
struct KeygenCommand: ParsableCommand {
    static let keyBytes = 32

    static let configuration = CommandConfiguration(
        commandName: "keygen",
        abstract: "Prints a new cluster key.",
        discussion: "Keep it in a file that only the node's user can read (mode 0600): peerbuild keygen > key")

    func run() {
        var random = SystemRandomNumberGenerator()
        let key = (0..<Self.keyBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        Terminal.printResult(Data(key).base64EncodedString())
    }
}
