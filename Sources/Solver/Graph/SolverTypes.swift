package import CacheMap
package import ClusterModel
package import OCI

/// Which live vertex: equal for equal work of different builds, apart where a build must not share.
package struct VertexID: Hashable, Sendable {
    package var digest: Digest
    /// Empty for work that may be shared; else what it is bound to: a build that ignores the cache, or the session whose
    /// local files it reads.
    package var salt: String

    package init(digest: Digest, salt: String = "") {
        self.digest = digest
        self.salt = salt
    }
}

/// One output of a live vertex.
package struct LiveEdge: Hashable, Sendable {
    package var vertex: VertexID
    package var output: Int

    package init(vertex: VertexID, output: Int) {
        self.vertex = vertex
        self.output = output
    }
}

/// The client-chosen reference of a build.
package typealias BuildID = String

/// What a vertex came to.
package struct VertexResult: Hashable, Sendable {
    /// One tree an output; nil where the op has no such output.
    package var outputs: [LayerChain?]
    /// Nodes known to have all layers; the first one is asked first.
    package var holders: [PeerID]

    package init(outputs: [LayerChain?], holders: [PeerID]) {
        self.outputs = outputs
        self.holders = holders
    }
}

/// A record that a look-up confirmed.
package struct FoundRecord: Hashable, Sendable {
    package var canonicalKey: CacheKey
    package var result: VertexResult

    package init(canonicalKey: CacheKey, result: VertexResult) {
        self.canonicalKey = canonicalKey
        self.result = result
    }
}

/// How a vertex came to its result.
package enum VertexOutcome: Hashable, Sendable {
    /// It ran on that node.
    case executed(on: PeerID)
    /// Its record was here, or with that peer.
    case cached(at: PeerID)
    /// It was already running, or had just run, on that node for somebody else.
    case merged(with: PeerID)
}

/// A maximal run of vertices in which each has one consumer: what is placed as one.
package struct SegmentID: Hashable, Sendable, Comparable {
    package var number: Int

    package init(number: Int) { self.number = number }

    package static func < (left: SegmentID, right: SegmentID) -> Bool { left.number < right.number }
}

/// A vertex whose inputs are there, to be placed and run.
package struct Assignment: Hashable, Sendable {
    package var vertex: VertexID
    package var segment: SegmentID
    /// The key that is claimed and recorded.
    package var key: CacheKey
    /// Further keys under which the record is found: the definition key of a vertex that is keyed by content.
    package var aliases: [CacheKey]
    package var inputs: [Input]
    /// The node that runs this segment, once its first vertex was placed.
    package var node: PeerID?
    /// Nodes that failed this vertex by dying.
    package var excluded: [PeerID]
    /// The vertices of the segment from this one on, for the estimate of run time.
    package var rest: [VertexID]
    /// Results that later vertices of the segment need and that exist already: they count as bytes to pull.
    package var sideInputs: [Input]
    /// Run even if a record exists.
    package var ignoresCache: Bool

    /// A tree that has to be on the executor.
    package struct Input: Hashable, Sendable {
        package var chain: LayerChain
        package var holders: [PeerID]

        package init(chain: LayerChain, holders: [PeerID]) {
            self.chain = chain
            self.holders = holders
        }
    }
}

/// Why a vertex has no result.
package struct VertexFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package var message: String
    package var exitCode: Int32?
    package var isCancelled: Bool

    package init(_ message: String, exitCode: Int32? = nil, isCancelled: Bool = false) {
        self.message = message
        self.exitCode = exitCode
        self.isCancelled = isCancelled
    }

    package var description: String { message }
}
