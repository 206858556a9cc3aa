/// Who a step runs as: numbers resolved from the root file system's own `/etc/passwd` and `/etc/group`.
struct StepUser: Hashable, Sendable {
    var uid: UInt32
    var gid: UInt32
    var supplementaryGroups: [UInt32] = []
    /// The home directory; `/` for a user without an entry.
    var home = "/"

    /// Resolves `uid`, `name`, `uid:gid` or `name:group`; empty is root.
    static func resolve(_ text: String, accounts: Accounts) throws(OperationError) -> StepUser {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let name = parts.first.flatMap { $0.isEmpty ? nil : $0 } ?? "0"
        let entry = accounts.user(named: name) ?? UInt32(name).flatMap { accounts.user(id: $0) }
        guard let uid = entry?.uid ?? UInt32(name) else { throw .userNotFound(name) }
        var user = StepUser(uid: uid, gid: entry?.gid ?? 0, home: entry?.home ?? "/")
        if parts.count == 2, !parts[1].isEmpty {
            guard let gid = accounts.group(named: parts[1]) ?? UInt32(parts[1]) else {
                throw .groupNotFound(parts[1])
            }
            user.gid = gid
        } else if let entry {
            user.supplementaryGroups = accounts.groups(ofMember: entry.name)
        }
        // The primary group counts among the others, as initgroups(3) does it.
        if !user.supplementaryGroups.contains(user.gid) { user.supplementaryGroups.insert(user.gid, at: 0) }
        return user
    }
}
