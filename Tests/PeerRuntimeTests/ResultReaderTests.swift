import ClusterModel
import Foundation
import Snapshots
import Testing

@testable import PeerRuntime

@Suite struct ResultReaderTests {
    @Test func `a file of the year 2300 has the last time that a client's 64 bits hold`() throws {
        let root = NSTemporaryDirectory() + "peerbuild-reader-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: root) }
        let snapshots = try SnapshotStore(root: root)
        let work = try snapshots.prepare(over: .scratch)
        let path = work.path + "/f"
        try Data([1]).write(to: URL(fileURLWithPath: path))
        let time = timespec(tv_sec: 10_413_792_000, tv_nsec: 0)
        #expect(utimensat(AT_FDCWD, path, [time, time], 0) == 0)
        // A file system that ends before keeps the last time that it has.
        var status = stat()
        #expect(lstat(path, &status) == 0)
        let (nanoseconds, isBeyond) = Int64(status.st_mtim.tv_sec).multipliedReportingOverflow(by: 1_000_000_000)
        let expected = isBeyond ? Int64.max : nanoseconds
        let chain = LayerChain([try #require(try snapshots.commit(work))])
        let reader = ResultReader(snapshots: snapshots)
        #expect(try reader.stat("f", of: chain).modified == expected)
        #expect(try reader.list("/", pattern: nil, of: chain).map(\.modified) == [expected])
    }
}
