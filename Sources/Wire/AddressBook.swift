internal import ClusterModel
internal import UVLoop

/// Text forms of addresses and the kernel's, so that neither is made anew for each datagram.
struct AddressBook {
    /// Addresses that are kept, each way; with more, all are forgotten, which costs time only.
    static let entriesMax = 8_192

    private var names: [KernelAddress: PeerAddress] = [:]
    private var kernelForms: [PeerAddress: KernelAddress] = [:]

    /// The text form; nil when the kernel has none for it.
    mutating func name(of kernel: KernelAddress) -> PeerAddress? {
        if let known = names[kernel] { return known }
        guard let text = SocketAddress(kernel) else { return nil }
        let name = PeerAddress(text)
        if names.count >= Self.entriesMax { names = [:] }
        names[kernel] = name
        return name
    }

    /// The kernel's form; throws when the text is no address.
    mutating func kernelForm(of name: PeerAddress) throws(UVError) -> KernelAddress {
        if let known = kernelForms[name] { return known }
        let kernel = try KernelAddress(SocketAddress(name))
        if kernelForms.count >= Self.entriesMax { kernelForms = [:] }
        kernelForms[name] = kernel
        return kernel
    }
}
