internal import CUV
internal import Glibc

extension LoopThread {
    /// Addresses of `host`, which may be a DNS name or an address, each with `port`, in the resolver's order.
    package func resolve(host: String, port: UInt16) async throws(UVError) -> [SocketAddress] {
        let result = await withCheckedContinuation { (continuation: CheckedContinuation<Answer, Never>) in
            perform { self.startResolving(host: host, port: port) { continuation.resume(returning: $0) } }
        }
        return try result.get()
    }

    typealias Answer = Result<[SocketAddress], UVError>

    private func startResolving(host: String, port: UInt16, completed: @escaping @Sendable (Answer) -> Void) {
        guard !isStopping else { return completed(.failure(.stopping("uv_getaddrinfo"))) }
        let request = NameRequest(host: host, port: port, completed: completed)
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_family = AF_UNSPEC
        let status = uv_getaddrinfo(
            pointer, request.pointer,
            { pointer, status, answers in
                NameRequest.take(pointer)?.finish(status, answers)
                uv_freeaddrinfo(answers)
            }, host, nil, &hints)
        guard status != 0 else { return }
        NameRequest.take(request.pointer)?.finish(status, nil)
    }
}

/// A look-up in flight: lives until its callback.
private final class NameRequest {
    let pointer = UnsafeMutablePointer<uv_getaddrinfo_t>.allocate(capacity: 1)
    private let host: String
    private let port: UInt16
    private let completed: @Sendable (LoopThread.Answer) -> Void

    init(host: String, port: UInt16, completed: @escaping @Sendable (LoopThread.Answer) -> Void) {
        self.host = host
        self.port = port
        self.completed = completed
        pointer.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { pointer.deallocate() }

    static func take(_ pointer: UnsafeMutablePointer<uv_getaddrinfo_t>?) -> NameRequest? {
        guard let data = pointer?.pointee.data else { return nil }
        return Unmanaged<NameRequest>.fromOpaque(data).takeRetainedValue()
    }

    func finish(_ status: Int32, _ answers: UnsafeMutablePointer<addrinfo>?) {
        guard status == 0 else {
            return completed(.failure(UVError(call: "uv_getaddrinfo", code: status, subject: host)))
        }
        var found: [SocketAddress] = []
        var next = answers
        while let answer = next {
            if let address = answer.pointee.ai_addr.flatMap({ SocketAddress($0) }) {
                let fresh = SocketAddress(host: address.host, port: port)
                if !found.contains(fresh) { found.append(fresh) }
            }
            next = answer.pointee.ai_next
        }
        completed(.success(found))
    }
}
