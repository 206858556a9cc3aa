import Foundation
import Testing

@testable import Worker

/// Archives for `ADD` whose numbers and lengths are made to break the node that unpacks them.
@Suite struct HostileTarTests {
    /// A header of the type; sizes of up to 11 octal digits.
    private static func header(_ type: UInt8, size: Int64 = 0) -> [UInt8] {
        var header = TarHeader(path: Array("f".utf8), kind: .file, mode: 0o644)
        header.size = size
        var block = header.encoded
        block[156] = type
        // The sum counts its own field as blanks.
        for index in 148..<156 { block[index] = 0x20 }
        let sum = Array(String(block.reduce(0) { $0 + Int($1) }, radix: 8).utf8)
        block.replaceSubrange(148..<(148 + sum.count), with: sum)
        return block
    }

    /// A file behind a pax header with these records.
    private static func file(behind records: [UInt8]...) -> [UInt8] {
        let headers = records.flatMap { records in
            header(UInt8(ascii: "x"), size: Int64(records.count)) + records
                + TarHeader.padding(for: Int64(records.count))
        }
        return headers + header(UInt8(ascii: "0"))
    }

    private static func withReader(of archive: [UInt8], _ body: (TarReader) throws -> Void) throws {
        let path = NSTemporaryDirectory() + "peerbuild-tar-\(UUID().uuidString)"
        try Data(archive).write(to: URL(fileURLWithPath: path))
        defer { unlink(path) }
        let number = open(path, O_RDONLY | O_CLOEXEC)
        try #require(number >= 0)
        try body(TarReader(FileDescriptor(number), name: path))
    }

    @Test func `A pax record that ends with its equals sign is refused`() throws {
        try Self.withReader(of: Self.file(behind: Array("5 ab=".utf8))) { reader in
            #expect(throws: OperationError.self) { _ = try reader.next() }
        }
    }

    @Test func `A file of the largest size ends where the archive does`() throws {
        try Self.withReader(of: Self.file(behind: Array("28 size=9223372036854775807\n".utf8))) { reader in
            let size = try reader.next()?.size
            #expect(size == Int64.max)
            let isOver = try reader.next() == nil
            #expect(isOver)
        }
    }

    @Test func `A time before all times is left out`() throws {
        try Self.withReader(of: Self.file(behind: Array("32 mtime=-9223372036854775808.5\n".utf8))) { reader in
            let second = try reader.next()?.time.tv_sec
            #expect(second == 0)
        }
    }

    @Test func `The extension headers of an entry have a limit together`() throws {
        let comment = Array("700016 comment=".utf8) + [UInt8](repeating: 97, count: 700_000) + Array("\n".utf8)
        try Self.withReader(of: Self.file(behind: comment)) { reader in
            let path = try reader.next()?.path
            #expect(path == Array("f".utf8))
        }
        try Self.withReader(of: Self.file(behind: comment, comment)) { reader in
            #expect(throws: OperationError.self) { _ = try reader.next() }
        }
    }
}
