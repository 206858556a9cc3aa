/// The users and groups that a root file system knows (passwd(5), group(5)).
struct Accounts {
    /// Longest passwd or group file that is read.
    static let bytesMax = 8 << 20

    struct User {
        var name: String
        var uid: UInt32
        var gid: UInt32
        var home: String
    }

    private struct Group {
        var name: String
        var gid: UInt32
        var members: [String]
    }

    private var users: [User] = []
    private var groups: [Group] = []

    /// Reads `/etc/passwd` and `/etc/group` inside the tree; missing files know nobody.
    init(of tree: RootedTree) throws(OperationError) {
        for fields in Self.lines(try tree.readFile("/etc/passwd", bytesMax: Self.bytesMax)) where fields.count >= 6 {
            guard let uid = UInt32(fields[2]), let gid = UInt32(fields[3]) else { continue }
            users.append(User(name: fields[0], uid: uid, gid: gid, home: fields[5].isEmpty ? "/" : fields[5]))
        }
        for fields in Self.lines(try tree.readFile("/etc/group", bytesMax: Self.bytesMax)) where fields.count >= 3 {
            guard let gid = UInt32(fields[2]) else { continue }
            let members = fields.count > 3 ? fields[3].split(separator: ",").map(String.init) : []
            groups.append(Group(name: fields[0], gid: gid, members: members))
        }
    }

    func user(named name: String) -> User? { users.first { $0.name == name } }
    func user(id: UInt32) -> User? { users.first { $0.uid == id } }
    func group(named name: String) -> UInt32? { groups.first { $0.name == name }?.gid }
    func groups(ofMember name: String) -> [UInt32] { groups.filter { $0.members.contains(name) }.map(\.gid) }

    private static func lines(_ content: [UInt8]?) -> [[String]] {
        (content ?? []).split(separator: UInt8(ascii: "\n")).map { line in
            String(decoding: line, as: UTF8.self)
                .split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        }
    }
}
