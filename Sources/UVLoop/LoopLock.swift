internal import CUV
internal import Glibc

/// State that several threads change, under a lock.
///
/// A pthread mutex, not `Synchronization.Mutex`: thread sanitizer sees only the former, and the loop's queue is what orders
/// everything that crosses threads here.
// @unchecked: `state` is touched under the lock only.
final class LoopLock<State>: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var state: State

    init(_ state: State) {
        self.state = state
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func withLock<Result>(_ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&state)
    }
}
