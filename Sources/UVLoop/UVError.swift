internal import CUV

/// A libuv call that failed.
package struct UVError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call, for example `uv_tcp_bind`.
    package let call: String
    /// libuv's code: a negative errno or one of its own.
    package let code: Int32
    /// What the call was about, for example an address; empty when there is nothing to add.
    package let subject: String

    package init(call: String, code: Int32, subject: String = "") {
        self.call = call
        self.code = code
        self.subject = subject
    }

    /// libuv's short name of the code, for example `EADDRINUSE`.
    package var name: String { String(cString: uv_err_name(code)) }

    package var description: String {
        let what = subject.isEmpty ? call : "\(call) \(subject)"
        return "\(what): \(String(cString: uv_strerror(code))) (\(name))"
    }

    package var isAddressInUse: Bool { code == UV_EADDRINUSE.rawValue }
    package var isConnectionRefused: Bool { code == UV_ECONNREFUSED.rawValue }

    /// Throws when `status` is a failure.
    static func check(_ status: Int32, _ call: String, _ subject: String = "") throws(UVError) {
        guard status < 0 else { return }
        throw UVError(call: call, code: status, subject: subject)
    }

    /// The loop is shutting down.
    static func stopping(_ call: String) -> UVError { UVError(call: call, code: UV_ECANCELED.rawValue) }
}
