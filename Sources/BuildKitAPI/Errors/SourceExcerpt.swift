internal import FoundationEssentials

/// Cuts a source file to the lines that an error message shows, with the line numbers kept.
enum SourceExcerpt {
    /// Longest line that is sent, in bytes.
    static let lineBytesMax = 256
    /// Files up to this size are sent whole.
    static let wholeBytesMax = 2 << 10

    /// Blanks the lines before and drops those after `first...last` (counted from 1) with `context` lines around.
    static func of(_ data: Data, first: Int, last: Int, context: Int) -> Data {
        guard data.count > wholeBytesMax else { return data }
        var excerpt = Data()
        var number = 0
        for line in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            if number > last + context { break }
            if number > 1 { excerpt.append(UInt8(ascii: "\n")) }
            if number >= first - context { excerpt.append(line.prefix(lineBytesMax)) }
        }
        return excerpt
    }
}
