/// Several messages as one input: each with its length, in two bytes, in front.
enum MessageSequence {
    static func joined(_ messages: [[UInt8]]) -> [UInt8] {
        messages.flatMap { message -> [UInt8] in
            precondition(message.count <= Int(UInt16.max), "a message of \(message.count) bytes in a sequence")
            return [UInt8(message.count >> 8), UInt8(message.count & 0xFF)] + message
        }
    }

    /// The messages of any bytes; one that is cut off is what is left.
    static func split(_ bytes: [UInt8]) -> [[UInt8]] {
        var messages: [[UInt8]] = []
        var rest = bytes[...]
        while rest.count >= 2 {
            let count = Int(rest.removeFirst()) << 8 | Int(rest.removeFirst())
            messages.append(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        return messages
    }
}
