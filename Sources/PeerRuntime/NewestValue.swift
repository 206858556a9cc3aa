/// Takes values to one worker: while it is busy the newest waits, and those before it are dropped.
struct NewestValue<Value: Sendable>: Sendable {
    private let values: AsyncStream<Value>
    private let feed: AsyncStream<Value>.Continuation

    init() { (values, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

    func put(_ value: Value) { feed.yield(value) }

    /// Does `work` with one value after the other until the task is cancelled; to be called once.
    func forEach(_ work: @Sendable (Value) async -> Void) async {
        for await value in values { await work(value) }
    }
}
