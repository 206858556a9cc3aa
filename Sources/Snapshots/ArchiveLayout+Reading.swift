internal import Transfer

extension ArchiveLayout {
    /// Takes all members of an archive.
    ///
    /// `store` is given each file, the reader that has its content, and its number in the order of the archive; it
    /// returns the content's chunks.
    /// - Throws: `ArchiveError` for an archive that is bad or hostile; what `store` throws.
    mutating func read(
        _ stream: ArchiveStream,
        store: (_ member: TarEntry, _ reader: inout TarReader, _ number: Int) throws -> ChunkedContent
    ) throws {
        var reader = TarReader(stream)
        var number = 0
        while let member = try reader.next() {
            var content: (number: Int, chunked: ChunkedContent)?
            if member.kind == .file {
                content = (number, try store(member, &reader, number))
                number += 1
            }
            try add(member, content: content)
        }
    }
}
