internal import ClusterModel

/// Boot ids: this node's own may change while it runs, and those of peers tell which of their links are over.
extension PeerLinks {
    /// Goes on under a higher boot id, as if this node had been restarted.
    ///
    /// Links of the earlier one are ended: to those who hold the other end they belong to a node that is gone. What is
    /// no higher than the boot id of now changes nothing.
    package func takeBootID(_ bootID: UInt64) {
        guard bootID > configuration.bootID, !stopped else { return }
        configuration.bootID = bootID
        seal.takeBootID(bootID)
        for link in Array(links.values) { over(link, "this node goes on under another boot number") }
    }

    /// Ends the links to what a peer was before it started as `bootID`, in whichever process.
    func endLinks(to peer: PeerID, before bootID: UInt64) {
        guard bootID > newestBoots[peer] ?? 0 else { return }
        if newestBoots[peer] == nil, newestBoots.count >= WireLimits.bootsMax {
            // Identities that lived for one start would fill it for good.
            let linked = Set(links.values.compactMap(\.peer))
            newestBoots = newestBoots.filter { linked.contains($0.key) }
        }
        newestBoots[peer] = bootID
        for link in Array(links.values) where link.peer == peer && link.bootID < bootID {
            fail(link, .linkBroken(peer: peer, reason: "the peer was restarted"))
        }
    }
}
