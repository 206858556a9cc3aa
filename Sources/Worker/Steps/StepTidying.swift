/// Takes away what a step had for its run: its groups and its bundle.
///
/// On a thread of its own, beside the storing of the result; `end` waits for it.
struct StepTidying {
    let runDirectory: RunDirectory
    let bundle: String
    let groups: ControlGroups
    var place: BlockingThread.Pending<StepPlace?>?
    private var isDone: BlockingThread.Pending<Void>?

    init(runDirectory: RunDirectory, bundle: String, groups: ControlGroups) {
        self.runDirectory = runDirectory
        self.bundle = bundle
        self.groups = groups
    }

    mutating func begin() {
        let (runDirectory, bundle, groups, place) = (runDirectory, bundle, groups, place)
        isDone = BlockingThread.begin {
            if place?.wait() != nil { groups.leave() }
            runDirectory.removeBundle(bundle)
        }
    }

    mutating func end() {
        if isDone == nil { begin() }
        isDone?.wait()
    }
}
