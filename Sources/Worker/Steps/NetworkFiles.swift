internal import Glibc
internal import LLB

/// `/etc/hosts` and `/etc/resolv.conf` as steps see them.
enum NetworkFiles {
    static let all = [
        (name: "hosts", destination: "/etc/hosts"), (name: "resolv.conf", destination: "/etc/resolv.conf"),
    ]

    private static let bytesMax = 1 << 20

    static func write(into directory: String, hostname: String, extraHosts: [Pb_HostIP]) throws(OperationError) {
        var hosts = "127.0.0.1\tlocalhost \(hostname)\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        for host in extraHosts {
            guard !host.host.contains(where: \.isNewline), !host.ip.contains(where: \.isNewline) else {
                throw .invalid("the extra host \"\(host.host)\" has a line break")
            }
            hosts += "\(host.ip)\t\(host.host)\n"
        }
        try RunDirectory.write(Array(hosts.utf8), to: "\(directory)/hosts", mode: 0o644)
        let number = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC)
        let servers = number < 0 ? [] : try FileDescriptor(number).readAll(bytesMax: bytesMax, name: "/etc/resolv.conf")
        try RunDirectory.write(servers, to: "\(directory)/resolv.conf", mode: 0o644)
    }
}
