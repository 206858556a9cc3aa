/// Passes a step's output on until its bound is reached, then says so once.
struct StepLog {
    /// Output of one step that is kept: BuildKit's bound.
    static let bytesMax = 2 << 20
    static let clippedLine = "[output clipped, log limit 2MiB reached]"

    private let sink: OperationContext.Log
    private var bytes = 0
    private var isClipped = false
    private var endsLine = true

    init(_ sink: @escaping OperationContext.Log) { self.sink = sink }

    mutating func write(_ stream: Int, _ piece: ArraySlice<UInt8>) {
        guard !isClipped, !piece.isEmpty else { return }
        let kept = piece.prefix(Self.bytesMax - bytes)
        bytes += kept.count
        if let last = kept.last { endsLine = last == UInt8(ascii: "\n") }
        if !kept.isEmpty { sink(stream, Array(kept)) }
        guard kept.count < piece.count else { return }
        isClipped = true
        sink(2, Array(((endsLine ? "" : "\n") + Self.clippedLine + "\n").utf8))
    }
}
