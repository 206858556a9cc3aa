/// Why a graph can't be taken over or marshalled.
package enum DefinitionBuilderError: Error, Hashable, CustomStringConvertible {
    case undecodable(String)
    case unencodable(String)
    case unknownInput(String)
    case malformedTerminal(Int)

    package var description: String {
        switch self {
        case .undecodable(let why): "an op of the definition can't be decoded: \(why)"
        case .unencodable(let why): "an op can't be encoded: \(why)"
        case .unknownInput(let digest): "an op refers to input \(digest), which does not precede it"
        case .malformedTerminal(let count):
            "the last op of a definition must have 1 input and no body, it has \(count) inputs"
        }
    }
}
