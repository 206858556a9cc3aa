/// Why a node can't serve its clients.
package enum APIServerError: Error, Hashable, Sendable, CustomStringConvertible {
    case badAddress(String, reason: String)
    case exposed(APIAddress)
    case inUse(APIAddress)
    case cannotListen(APIAddress, call: String, reason: String)
    case unreadableTLSFile(option: String, path: String, reason: String)
    case stopped(APIAddress, reason: String)

    package var description: String {
        switch self {
        case .badAddress(let text, let reason): "address '\(text)' is not valid: \(reason)"
        case .exposed(let address):
            """
            \(address) can be reached by other machines and would accept builds from anyone; give --tlscacert, --tlscert \
            and --tlskey, or --insecure if the network is trusted
            """
        case .inUse(let address): "\(address) is in use by another process; stop that one or choose another --addr"
        case .cannotListen(let address, let call, let reason): "cannot listen on \(address): \(call): \(reason)"
        case .unreadableTLSFile(let option, let path, let reason): "\(option) '\(path)': \(reason)"
        case .stopped(let address, let reason): "serving \(address) ended: \(reason)"
        }
    }
}
