import CacheMap
import ClusterModel
import Foundation
import OCI
import Synchronization
import Testing

/// A record whose parts follow from `number`.
private func record(_ number: Int, layers: [Int] = [1, 2]) -> CacheRecord {
    let chain = LayerChain(
        layers.map { LayerDescriptor(id: Digest.of([UInt8(truncatingIfNeeded: $0), 9]), bytes: Int64($0) * 100) })
    return CacheRecord(
        key: key(number), canonicalKey: key(number + 1000), outputs: [chain, nil], created: 10,
        lastUsed: Int64(20 + number),
        cost: 1.5, description: "RUN step \(number)")
}

private func key(_ number: Int) -> CacheKey { CacheKey(Digest.of(Array("key \(number)".utf8))) }

private func withScratch<Result>(_ body: (String) throws -> Result) throws -> Result {
    let path = NSTemporaryDirectory() + "records-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path + "/records.db")
}

/// How many records a writer has stored.
private final class StoredCount: Sendable {
    let value = Atomic<Int>(0)
}

@Suite struct `The record store` {
    @Test func `a record is found by its key and its aliases, also after reopening`() throws {
        try withScratch { path in
            do {
                let store = try RecordStore(path: path)
                try store.store(record(1), aliases: [key(50), key(51)])
                #expect(try store.addAlias(key(52), to: key(1)))
                #expect(try !store.addAlias(key(53), to: key(99)))
            }
            let store = try RecordStore(path: path)
            for number in [1, 50, 51, 52] { #expect(try store.record(for: key(number)) == record(1)) }
            #expect(try store.record(for: key(53)) == nil)
            #expect(try store.contains(key(52)) && !store.contains(key(53)))
            #expect(try store.allKeys() == [key(1), key(50), key(51), key(52)].sorted())
        }
    }

    @Test func `deleting a record takes its aliases and layer references along`() throws {
        try withScratch { path in
            let store = try RecordStore(path: path)
            try store.store(record(1, layers: [1, 2]), aliases: [key(50)])
            try store.store(record(2, layers: [2, 3]))
            #expect(try store.totals() == .init(records: 2, bytes: 600))
            #expect(try store.layerUsage().values.sorted() == [1, 1, 2])
            #expect(try store.keys(using: Digest.of([2, 9])) == [key(1), key(2)].sorted())
            #expect(try store.delete(key(1)))
            #expect(try !store.delete(key(1)))
            #expect(try store.record(for: key(50)) == nil)
            #expect(try store.totals() == .init(records: 1, bytes: 500))
            #expect(try store.allKeys() == [key(2)])
        }
    }

    @Test func `storing again replaces the record and its layers`() throws {
        try withScratch { path in
            let store = try RecordStore(path: path)
            try store.store(record(1, layers: [1, 2]))
            try store.store(record(1, layers: [4]))
            #expect(try store.record(for: key(1)) == record(1, layers: [4]))
            #expect(try store.totals() == .init(records: 1, bytes: 400))
        }
    }

    @Test func `use moves a record to the end of the line`() throws {
        try withScratch { path in
            let store = try RecordStore(path: path)
            for number in 1...3 { try store.store(record(number), aliases: [key(number + 100)]) }
            try store.touch(key(101), at: 500)
            try store.touch(key(2), at: 1)
            #expect(try store.leastRecentlyUsed(3).map(\.key) == [key(2), key(3), key(1)])
            #expect(try store.record(for: key(1))?.lastUsed == 500)
        }
    }

    @Test func `256 times of use are written without any other change, the latest of each`() throws {
        try withScratch { path in
            let store = try RecordStore(path: path)
            try store.store(record(1))
            try store.touch(key(1), at: 900)
            try store.touch(key(1), at: 700)
            for number in 2...255 { try store.touch(key(number), at: 5) }
            #expect(try store.record(for: key(1))?.lastUsed == 21)
            try store.touch(key(256), at: 5)
            #expect(try store.record(for: key(1))?.lastUsed == 900)
            // Pending ones go with the next record.
            try store.touch(key(1), at: 1_000)
            try store.store(record(2))
            #expect(try store.record(for: key(1))?.lastUsed == 1_000)
        }
    }

    @Test func `a record of its own takes the place of an alias, and an alias alone can go`() throws {
        try withScratch { path in
            let store = try RecordStore(path: path)
            try store.store(record(1), aliases: [key(1), key(50), key(51)])
            #expect(try store.aliases(of: key(1)) == [key(50), key(51)].sorted())
            try store.store(record(50))
            #expect(try store.record(for: key(50)) == record(50))
            #expect(try store.aliases(of: key(1)) == [key(51)])
            #expect(try store.delete(key(50)))
            #expect(try store.record(for: key(50)) == nil)
            #expect(try store.delete(key(51)))
            #expect(try !store.contains(key(51)) && store.record(for: key(1)) == record(1))
        }
    }

    @Test func `the map has a record's aliases too, for what the record is worth`() throws {
        try withScratch { path in
            let store = try RecordStore(path: path)
            try store.store(record(1), aliases: [key(50)])
            let entries = try store.mapEntries()
            #expect(Set(entries.map(\.key)) == [key(1), key(50)] && entries.count == 2)
            #expect(entries.allSatisfy { $0.cost == 1.5 && $0.lastUsed == 21 })
            #expect(record(1, layers: [1, 2, 1]).bytes == 300)
        }
    }

    @Test func `a file that is no database is refused with its name and a remedy`() throws {
        try withScratch { path in
            try Data(repeating: 0x41, count: 8192).write(to: URL(fileURLWithPath: path))
            #expect {
                try RecordStore(path: path)
            } throws: {
                guard case RecordStoreError.corrupt = $0 else { return false }
                return "\($0)".contains(path) && "\($0)".contains("move it away")
            }
        }
    }

    @Test func `a damaged page is noticed at the start`() throws {
        try withScratch { path in
            do {
                let store = try RecordStore(path: path)
                for number in 0..<200 { try store.store(record(number)) }
            }
            var content = try Data(contentsOf: URL(fileURLWithPath: path))
            #expect(content.count > 16384)
            for offset in 4096..<12288 { content[offset] = UInt8(truncatingIfNeeded: offset &* 31) }
            try content.write(to: URL(fileURLWithPath: path))
            #expect {
                try RecordStore(path: path)
            } throws: {
                if case RecordStoreError.corrupt = $0 { true } else { false }
            }
        }
    }

    @Test func `a newer schema is left alone`() throws {
        try withScratch { path in
            _ = try RecordStore(path: path)
            // user_version stands at offset 60 of the first page, big-endian (SQLite file format, 1.3).
            var content = try Data(contentsOf: URL(fileURLWithPath: path))
            content[63] = 9
            try content.write(to: URL(fileURLWithPath: path))
            #expect(throws: RecordStoreError.newer(path: path, found: 9, known: 1)) { try RecordStore(path: path) }
        }
    }

    @Test(arguments: [3, 17, 40]) func `what was stored survives SIGKILL in the middle of writing`(
        _ acked: Int
    ) async throws {
        let path = NSTemporaryDirectory() + "records-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, acked = acked as Int] in
            let store = try RecordStore(path: path + "/records.db")
            let acknowledged = open(path + "/acknowledged", O_WRONLY | O_CREAT | O_APPEND, 0o600)
            let done = StoredCount()
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    while done.value.load(ordering: .relaxed) < acked { await Task.yield() }
                    kill(getpid(), SIGKILL)
                }
                group.addTask {
                    for number in 0..<100_000 {
                        guard (try? store.store(record(number), aliases: [key(number + 1_000_000)])) != nil else {
                            return
                        }
                        write(acknowledged, ".", 1)
                        done.value.add(1, ordering: .relaxed)
                    }
                }
            }
        }
        let promised = try Data(contentsOf: URL(fileURLWithPath: path + "/acknowledged")).count
        #expect(promised >= acked)
        let store = try RecordStore(path: path + "/records.db")
        for number in 0..<promised {
            #expect(try store.record(for: key(number)) == record(number))
            #expect(try store.contains(key(number + 1_000_000)))
        }
        #expect((promised...promised + 1).contains(try store.totals().records))
    }
}
