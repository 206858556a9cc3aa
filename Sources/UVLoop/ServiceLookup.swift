internal import CLinux
internal import CUV

/// One SRV record (RFC 2782): where a service is offered.
package struct ServiceRecord: Sendable, Hashable {
    package let priority: UInt16
    package let weight: UInt16
    package let port: UInt16
    /// A DNS name.
    package let target: String
}

/// Why the resolver gave no SRV records, in its own words.
package struct ServiceLookupError: Error, Hashable, Sendable, CustomStringConvertible {
    package let name: String
    package let reason: String
    /// The name or its SRV records do not exist, which is an answer; otherwise the resolver failed.
    package let isAnswer: Bool

    package var description: String { "SRV \(name): \(reason)" }
}

extension LoopThread {
    /// Records of one answer that are looked at.
    static var serviceRecordsMax: Int32 { 64 }

    /// SRV records of `name`, best priority first.
    ///
    /// The system's resolver is asked on a thread of libuv's pool, as it blocks.
    package func serviceRecords(of name: String) async throws(ServiceLookupError) -> [ServiceRecord] {
        let answer = await withCheckedContinuation {
            (continuation: CheckedContinuation<ServiceRequest.Answer, Never>) in
            perform { self.startLookUp(name) { continuation.resume(returning: $0) } }
        }
        return try answer.get()
    }

    private func startLookUp(_ name: String, _ completed: @escaping @Sendable (ServiceRequest.Answer) -> Void) {
        let failure = ServiceLookupError(name: name, reason: "the node stops", isAnswer: false)
        guard !isStopping else { return completed(.failure(failure)) }
        let request = ServiceRequest(name: name, completed: completed)
        let status = uv_queue_work(
            pointer, request.pointer, { ServiceRequest.of($0)?.ask() },
            { pointer, _ in ServiceRequest.take(pointer)?.finish() })
        if status != 0 { ServiceRequest.take(request.pointer)?.finish() }
    }
}

/// A question in flight: lives until its callback.
// @unchecked: the pool's thread writes `answer` before libuv calls back on the loop's thread, which reads it.
private final class ServiceRequest: @unchecked Sendable {
    typealias Answer = Result<[ServiceRecord], ServiceLookupError>

    let pointer = UnsafeMutablePointer<uv_work_t>.allocate(capacity: 1)
    private let name: String
    private let completed: @Sendable (Answer) -> Void
    private var answer: Answer

    init(name: String, completed: @escaping @Sendable (Answer) -> Void) {
        self.name = name
        self.completed = completed
        answer = .failure(ServiceLookupError(name: name, reason: "it was not asked", isAnswer: false))
        pointer.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { pointer.deallocate() }

    static func of(_ pointer: UnsafeMutablePointer<uv_work_t>?) -> ServiceRequest? {
        guard let data = pointer?.pointee.data else { return nil }
        return Unmanaged<ServiceRequest>.fromOpaque(data).takeUnretainedValue()
    }

    static func take(_ pointer: UnsafeMutablePointer<uv_work_t>?) -> ServiceRequest? {
        guard let data = pointer?.pointee.data else { return nil }
        return Unmanaged<ServiceRequest>.fromOpaque(data).takeRetainedValue()
    }

    func ask() {
        var records = [clinux_service_record](
            repeating: clinux_service_record(), count: Int(LoopThread.serviceRecordsMax))
        let count = clinux_service_records(name, &records, LoopThread.serviceRecordsMax)
        guard count >= 0 else {
            // HOST_NOT_FOUND is 1, NO_DATA is 4.
            answer = .failure(
                ServiceLookupError(
                    name: name, reason: String(cString: clinux_resolver_error(count)),
                    isAnswer: count == -1 || count == -4))
            return
        }
        answer = .success(
            records.prefix(Int(count)).map { record in
                ServiceRecord(
                    priority: record.priority, weight: record.weight, port: record.port, target: Self.text(record))
            }.sorted { ($0.priority, $1.weight) < ($1.priority, $0.weight) })
    }

    private static func text(_ record: clinux_service_record) -> String {
        withUnsafeBytes(of: record.target) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    func finish() { completed(answer) }
}
