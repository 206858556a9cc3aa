internal import Foundation
internal import Gossip
internal import Logging

/// The members of the last run, for a rejoin when no seed answers.
///
/// Losing it costs nothing but that.
struct MemberSnapshotFile: Sendable {
    let path: String
    let logger: Logger

    func load() -> [MemberSnapshot] {
        guard let data = FileManager.default.contents(atPath: path) else { return [] }
        do {
            return try JSONDecoder().decode([MemberSnapshot].self, from: data)
        } catch {
            logger.warning("the membership snapshot is ignored", metadata: ["path": "\(path)", "error": "\(error)"])
            return []
        }
    }

    func save(_ members: [MemberSnapshot]) {
        do {
            try JSONEncoder().encode(members).write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            logger.warning(
                "the membership snapshot is not written", metadata: ["path": "\(path)", "error": "\(error)"])
        }
    }
}
