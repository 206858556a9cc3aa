/// One decoder under test: inputs that are valid, and what has to hold for any bytes.
struct FuzzTarget {
    let name: String
    /// Encodings of real values, which mutations start from.
    let corpus: [[UInt8]]
    /// Decodes `bytes`; traps, or returns `.failed`, when a promise is broken.
    let check: (_ bytes: [UInt8]) -> Outcome

    enum Outcome {
        case refused
        case decoded
        /// What the decoder did that it must not do.
        case failed(String)
    }

    /// A decoder whose values can be encoded again: what decodes must encode to something that decodes to the same.
    static func codec<Value: Equatable>(
        _ name: String, corpus: [[UInt8]], decode: @escaping ([UInt8]) throws -> Value,
        encode: @escaping (Value) -> [UInt8]
    ) -> FuzzTarget {
        FuzzTarget(name: name, corpus: corpus) { bytes in
            guard let value = try? decode(bytes) else { return .refused }
            guard let again = try? decode(encode(value)) else { return .failed("its own encoding is refused") }
            return again == value ? .decoded : .failed("decoded, encoded and decoded again it is another value")
        }
    }

    /// A decoder that gives its value encoded anew: the second time nothing may change.
    static func reencoder(
        _ name: String, corpus: [[UInt8]], _ reencode: @escaping ([UInt8]) throws -> [UInt8]
    ) -> FuzzTarget {
        codec(name, corpus: corpus, decode: reencode, encode: { $0 })
    }

    /// A decoder that only has to survive.
    static func survivor(_ name: String, corpus: [[UInt8]], _ take: @escaping ([UInt8]) throws -> Void) -> FuzzTarget {
        FuzzTarget(name: name, corpus: corpus) { bytes in
            (try? take(bytes)) == nil ? .refused : .decoded
        }
    }
}
