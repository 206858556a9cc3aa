/// Numbers the starts of a node, so that a restart is told from a replay and no nonce is used twice.
///
/// A boot id is max(unix seconds, last + 1) in the upper 32 bits and 32 random bits below; it only grows for a node.
package enum BootID {
    /// Takes the next boot id and stores it at `path` before it is used.
    ///
    /// `unixSeconds` is the wall clock's reading. The new id is higher than `floor`, too: the id under which another
    /// process uses this node's identity. Throws `SodiumError` when the file cannot be read or written, holds no
    /// number, or no higher number is left.
    package static func next(file path: String, unixSeconds: UInt32, above floor: UInt64 = 0) throws -> UInt64 {
        var last: UInt64 = 0
        if SecretFile.exists(path) {
            let text = String(decoding: try SecretFile.read(path, bytesMax: 32).filter { $0 > 32 }, as: UTF8.self)
            guard let number = UInt64(text) else {
                throw SodiumError.malformed(
                    what: "\"\(text)\" is no boot number", place: path,
                    remedy: "delete it; the clock will give the next one")
            }
            last = number
        }
        let next = make(unixSeconds: unixSeconds, after: max(last, floor))
        guard floor == 0 || next > floor else {
            throw SodiumError.malformed(
                what: "no boot number is above \(floor)", place: path, remedy: "give this node a new root directory")
        }
        try SecretFile.write(Array("\(next)\n".utf8), to: path)
        return next
    }

    /// A boot id for a node that keeps none on disk.
    package static func make(unixSeconds: UInt32, after last: UInt64 = 0) -> UInt64 {
        let upper = max(UInt64(unixSeconds), min((last >> 32) + 1, UInt64(UInt32.max)))
        return upper << 32 | RandomBytes.seed() & 0xFFFF_FFFF
    }
}
