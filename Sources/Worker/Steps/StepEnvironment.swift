internal import LLB

/// The environment variables of a step's process.
enum StepEnvironment {
    static let defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// Proxies first, so that the step's own variables win; then `PATH` and `HOME` if they are missing.
    static func variables(_ meta: Pb_Meta, secrets: [(name: String, value: String)], user: StepUser) -> [String] {
        var variables = proxies(meta.proxyEnv) + meta.env
        variables += secrets.map { "\($0.name)=\($0.value)" }
        if !has("PATH", in: variables) { variables.append(defaultPath) }
        if !has("HOME", in: variables) { variables.append("HOME=\(user.home)") }
        return variables
    }

    private static func has(_ name: String, in variables: [String]) -> Bool {
        variables.contains { $0.hasPrefix(name + "=") }
    }

    /// Each proxy in upper and lower case, as programs disagree on which they read.
    private static func proxies(_ proxy: Pb_ProxyEnv) -> [String] {
        let pairs = [
            ("http_proxy", proxy.httpProxy), ("https_proxy", proxy.httpsProxy), ("ftp_proxy", proxy.ftpProxy),
            ("no_proxy", proxy.noProxy), ("all_proxy", proxy.allProxy),
        ]
        return pairs.filter { !$0.1.isEmpty }.flatMap { ["\($0.0.uppercased())=\($0.1)", "\($0.0)=\($0.1)"] }
    }
}
