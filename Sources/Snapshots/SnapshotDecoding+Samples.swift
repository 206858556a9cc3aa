internal import Transfer

extension SnapshotDecoding {
    /// Archives with each kind of member, and each form that names, numbers, attributes and holes can have; one is
    /// compressed.
    package static func archives() throws -> [[UInt8]] {
        let kinds =
            member("d/", .directory) + member("d/f", .file, content: [1, 2, 3]) + member("d/h", .hardlink, link: "d/f")
            + member("lib/l", .symlink, link: "../d") + member("usr/p", .fifo)
        let others =
            member("lib/l", .symlink, link: "/d") + member("lib/l/deep/c", .characterDevice)
            + member("usr/.wh.gone", .file) + member("d/.wh..wh..opq", .file)
        return [
            kinds, others + TarWriter.endMark, try frame(of: kinds + others), extendedFile, longNames, listedHoles,
            mappedHoles, headerHoles,
        ]
    }

    /// A file that only PAX records can describe.
    private static var extendedFile: [UInt8] {
        let attributes = [
            ExtendedAttribute(name: Array("user.a=b%".utf8), value: [0, 255]),
            ExtendedAttribute(name: Array("user.empty".utf8), value: []),
        ]
        let entry = LayerEntry(
            path: [], mode: 0o6755, uid: 70_000_000, gid: .max,
            modified: FileTime(seconds: -2, nanoseconds: 750_000_000), attributes: attributes, kind: .fifo)
        let name = Array(repeatElement("n", count: 120).joined().utf8)
        return TarWriter.header(entry, name: name, type: TarEntry.Kind.file.rawValue, size: 2) + padded([4, 5])
    }

    /// GNU tar's own form of long names.
    private static var longNames: [UInt8] {
        let name = Array(repeatElement("g", count: 130).joined().utf8) + [0]
        return header("././@LongLink", UInt8(ascii: "L"), size: name.count) + padded(name)
            + header("././@LongLink", UInt8(ascii: "K"), size: name.count) + padded(name)
            + member("short", .symlink, link: "short")
    }

    /// A sparse file whose list of extents begins its data: PAX, version 1.0.
    private static var listedHoles: [UInt8] {
        let list = padded(Array("2\n0\n3\n140000\n2\n".utf8))
        let records = pax([
            ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "holes"),
            ("GNU.sparse.realsize", "140005"),
        ])
        let stored = list + [1, 2, 3, 4, 5]
        return records + header("GNUSparseFile.0/holes", TarEntry.Kind.file.rawValue, size: stored.count)
            + padded(stored)
    }

    /// A sparse file whose extents are in a PAX record: version 0.1.
    private static var mappedHoles: [UInt8] {
        let records = pax([
            ("GNU.sparse.map", "0,3,140000,2"), ("GNU.sparse.name", "holes"), ("GNU.sparse.size", "140002"),
            ("mtime", "1700000000.5"), ("size", "5"),
        ])
        return records + header("GNUSparseFile.0/holes", TarEntry.Kind.file.rawValue, size: 5)
            + padded([1, 2, 3, 4, 5])
    }

    /// A sparse file whose extents are in its header: GNU tar's own form, with numbers in base 256.
    private static var headerHoles: [UInt8] {
        var block = header("holes", UInt8(ascii: "S"), size: 5)
        func put(_ number: UInt64, at offset: Int) {
            block[offset] = 0x80
            for index in 0..<8 {
                block[offset + 4 + index] = UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * index))
            }
        }
        for (index, number) in [0, 3, 140_000, 2].enumerated() { put(UInt64(number), at: 386 + 12 * index) }
        put(140_002, at: 483)
        block.replaceSubrange(257..<265, with: Array("ustar  ".utf8) + [0])
        mendChecksums(&block)
        return block + padded([1, 2, 3, 4, 5])
    }

    private static func pax(_ records: [(key: String, value: String)]) -> [UInt8] {
        let data = records.flatMap { TarWriter.record(Array($0.key.utf8), Array($0.value.utf8)) }
        return header("PaxHeaders.0/x", UInt8(ascii: "x"), size: data.count) + padded(data)
    }

    private static func member(
        _ name: String, _ type: TarEntry.Kind, link: String = "", content: [UInt8] = []
    ) -> [UInt8] {
        header(name, type.rawValue, link: link, size: content.count) + padded(content)
    }

    private static func header(_ name: String, _ type: UInt8, link: String = "", size: Int) -> [UInt8] {
        // The numbers of a device are written for what is one; other headers have none.
        let isDevice = type == TarEntry.Kind.characterDevice.rawValue
        let entry = LayerEntry(
            path: [], mode: 0o644, kind: isDevice ? .characterDevice(major: 1, minor: 3) : .fifo)
        return TarWriter.header(
            entry, name: Array(name.utf8), linkName: Array(link.utf8), type: type, size: Int64(size))
    }

    private static func padded(_ content: [UInt8]) -> [UInt8] { content + TarWriter.padding(Int64(content.count)) }
}
