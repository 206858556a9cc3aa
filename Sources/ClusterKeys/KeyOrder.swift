/// What an operator wants done with the cluster keys.
///
/// What an order does to the ring is shared and merges (`KeyRing`). Two orders that contradict each other, given on two
/// sides of a partition, end the same everywhere: of two keys that were both told to seal, the one of the newer order does;
/// a removal outweighs any use, unless it would leave no key at all.
package enum KeyOrder<Key: RingKey>: Sendable {
    /// Opens from now on.
    case install(Key)
    /// Seals from now on.
    case use(KeyFingerprint)
    /// Opens for a grace, then no more.
    case remove(KeyFingerprint)
    /// All three: `fresh` is installed everywhere, then seals everywhere, then the others are removed.
    ///
    /// A rotation that was interrupted goes on with the key that it had installed.
    case rotate(fresh: Key)
}

/// A part of an order: the next begins when all members that are up have this one.
package enum KeyStep: String, Sendable {
    case install, use, remove
}

/// Why an order was not carried out, or not everywhere.
package enum KeyOrderError: Error, Hashable, Sendable, CustomStringConvertible {
    case ring(KeyRingError)
    /// Another order is under way at this node.
    case busy
    case notEverywhere(KeyStep, members: [String])
    /// An order given elsewhere lets a key seal that this rotation was to replace.
    case overruled(by: KeyFingerprint)
    /// The ring could not be written down.
    case notKept

    package var description: String {
        switch self {
        case .ring(let error): "\(error)"
        case .busy: "this node is changing the keys already; wait for it, see `peerbuild keys list`"
        case .notEverywhere(let step, let members):
            "\(step.rawValue): these members do not show the new key set yet: \(members.joined(separator: ", ")). "
                + "Nothing is lost: they take it when they answer again. See that they do with `peerbuild status`, "
                + "then repeat the command"
        case .overruled(let key):
            "another order lets key \(key) seal, which this rotation was to replace; nothing was removed. "
                + "See `peerbuild keys list`, then repeat the command"
        case .notKept:
            "the key ring could not be written below the node's root; nothing was changed, see the node's log"
        }
    }
}
