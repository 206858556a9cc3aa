internal import ClusterModel

/// No nonce is used twice under a key: a nonce is (identity, boot id, counter), each process counts for itself, so no two
/// processes may seal under one boot id of one identity.
package struct NonceChecker: Sendable {
    private struct Boot: Hashable, Sendable {
        var identity: Int
        var bootID: UInt64
    }

    private struct Process: Hashable, Sendable {
        var node: Int
        var number: UInt64
    }

    private var owners: [Boot: Process] = [:]

    package init() {}

    /// Notes that a node seals a datagram; what is wrong with it, in words, once for each boot id.
    package mutating func sealed(by node: ClusterSimulation.Node, at index: Int) -> String? {
        let boot = Boot(identity: node.identity, bootID: node.boots)
        let process = Process(node: index, number: node.process)
        guard let owner = owners.updateValue(process, forKey: boot), owner != process else { return nil }
        return "nonce: n\(index) and n\(owner.node) both seal under boot \(node.boots) of n\(node.identity)"
    }
}
