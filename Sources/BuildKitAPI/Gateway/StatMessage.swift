internal import BuildKitProtocol
internal import FileSync
internal import FoundationEssentials
internal import PeerRuntime
internal import SwiftProtobuf

/// A file's metadata in fsutil's form: base name, Go's mode bits.
enum StatMessage {
    static func stat(_ stat: FileStat) -> Fsutil_Types_Stat {
        .with {
            $0.path = stat.path.split(separator: "/").last.map(String.init) ?? "/"
            $0.mode = GoFileMode.fromStat(stat.mode)
            $0.uid = stat.uid
            $0.gid = stat.gid
            $0.size = stat.size
            $0.modTime = stat.modified
            $0.linkname = stat.linkName
            $0.devmajor = stat.deviceMajor
            $0.devminor = stat.deviceMinor
            $0.xattrs = stat.xattrs.mapValues { Data($0) }
        }
    }
}
