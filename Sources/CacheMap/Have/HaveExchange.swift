package import ClusterModel

/// Asks peers for exact keys by datagram, some at once, and says when a stream has to ask instead.
///
/// A pure state machine: hand in answers and the time, carry out what comes back.
package struct HaveExchange: Sendable {
    package enum Effect: Sendable, Hashable {
        case send(HaveRequest, to: PeerID)
        /// The peer's exact word on one question.
        case answered(QuestionID, HaveAnswer, by: PeerID)
        /// No answer in time, or the question is too big for a datagram: ask by stream.
        case unanswered(QuestionID, by: PeerID)
    }

    /// Names one question to one peer.
    package struct QuestionID: Hashable, Sendable {
        package let number: UInt32
    }

    private struct Question: Sendable {
        var peer: PeerID
        var keys: [CacheKey]
        var deadline: MonotonicInstant
    }

    /// Peers that are asked at once for the same keys.
    package static let askedMax = 3
    /// A datagram's answer is waited for this long: four round trips of a slow link, or a busy loop.
    package static let answerLimit: Duration = .milliseconds(100)
    /// Questions under way; beyond it streams are used.
    package static let questionsMax = 1_024

    private var questions: [UInt32: Question] = [:]
    private var number: UInt32

    /// `first` differs from start to start, so that a late answer to the former process is not taken for one to this.
    package init(first: UInt32) { number = first }

    /// Asks `peer`; the question's outcome comes as an effect, of this call or of a later one.
    package mutating func ask(
        _ keys: [CacheKey], _ peer: PeerID, datagramBytesMax: Int, at now: MonotonicInstant
    ) -> (QuestionID, [Effect]) {
        number &+= 1
        let id = QuestionID(number: number)
        let request = HaveRequest(number: number, keys: keys)
        let fits = keys.count <= HaveRequest.keysPerDatagramMax && request.byteCount <= datagramBytesMax
        guard fits, questions.count < Self.questionsMax else { return (id, [.unanswered(id, by: peer)]) }
        questions[number] = Question(peer: peer, keys: keys, deadline: now + Self.answerLimit)
        return (id, [.send(request, to: peer)])
    }

    /// An answer that came: only the one who was asked can give it, once, and about as many keys.
    package mutating func answered(_ answer: HaveAnswer, by peer: PeerID) -> [Effect] {
        guard let question = questions[answer.number], question.peer == peer,
            question.keys.count == answer.sizes.count
        else { return [] }
        questions[answer.number] = nil
        return [.answered(QuestionID(number: answer.number), answer, by: peer)]
    }

    /// Gives up what is overdue.
    package mutating func expire(at now: MonotonicInstant) -> [Effect] {
        let overdue = questions.filter { $0.value.deadline <= now }.sorted { $0.key < $1.key }
        for (number, _) in overdue { questions[number] = nil }
        return overdue.map { .unanswered(QuestionID(number: $0.key), by: $0.value.peer) }
    }

    /// When `expire` is to be called next.
    package var nextAt: MonotonicInstant? { questions.values.map(\.deadline).min() }
}
