import Foundation
import OCI
import Testing

@testable import Worker

/// The documents of an image: config, annotations, archive headers.
@Suite struct ExporterDocumentTests {
    private static let platform = Platform(os: "linux", architecture: "amd64")

    private static func patch(_ layers: Int, base: Int = 0, epoch: String? = nil) -> ConfigPatch {
        ConfigPatch(
            platform: platform,
            layers: (0..<layers).map {
                ConfigPatch.Layer(diffID: Digest.of([UInt8($0)]), created: "2024-01-0\($0 + 1)T00:00:00Z")
            }, baseLayerCount: base, epoch: epoch, inlineCache: nil)
    }

    private static func history(_ bytes: [UInt8]) throws -> [ImageConfig.History] {
        try JSONDecoder().decode(ImageConfig.self, from: Data(bytes)).history ?? []
    }

    @Test func `unknown members of a config stay, sorted and compact, numbers as they were written`() throws {
        let config =
            #"{ "os":"linux", "zz": [1, 2.50, {"b":1 ,"a":"<x>"}], "architecture" : "amd64", "config":{"Cmd":["a b"]}}"#
        let patched = try Self.patch(1).apply(to: Array(config.utf8))
        #expect(
            String(decoding: patched.bytes, as: UTF8.self)
                == #"{"architecture":"amd64","config":{"Cmd":["a b"]},"created":"2024-01-01T00:00:00Z","#
                + #""history":[{"created":"2024-01-01T00:00:00Z","comment":"buildkit.exporter.image.v0"}],"os":"linux","#
                + #""rootfs":{"type":"layers","diff_ids":["\#(Digest.of([0]))"]},"#
                + #""zz":[1,2.50,{"b":1,"a":"\u003cx\u003e"}]}"#)
    }

    @Test func `entries for layers get the layers' times and the others the next one's`() throws {
        let config =
            #"{"history":[{"created_by":"ENV","empty_layer":true},{"created_by":"COPY"},{"created_by":"RUN"},{"created_by":"CMD","empty_layer":true}]}"#
        let patched = try Self.patch(2).apply(to: Array(config.utf8))
        let times = try Self.history(patched.bytes).map(\.created)
        #expect(
            times == [
                "2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-02T00:00:00Z",
            ])
        #expect(patched.created == "2024-01-02T00:00:00Z")
    }

    @Test func `instructions without a layer are marked, but none of the base image`() throws {
        let config = #"{"history":[{"created_by":"base"},{"created_by":"RUN true"},{"created_by":"COPY"}]}"#
        let history = try Self.history(Self.patch(2, base: 1).apply(to: Array(config.utf8)).bytes)
        #expect(history.map { $0.emptyLayer == true } == [false, true, false])
    }

    @Test func `layers without an entry get one`() throws {
        let history = try Self.history(
            Self.patch(3).apply(to: Array(#"{"history":[{"created_by":"x"}]}"#.utf8)).bytes)
        #expect(history.filter { $0.emptyLayer != true }.count == 3)
    }

    @Test func `an epoch is the latest time of a config`() throws {
        let config = #"{"history":[{"created":"2001-01-01T00:00:00Z","created_by":"a"},{"created_by":"b"}]}"#
        let patched = try Self.patch(2, epoch: "2010-01-01T00:00:00Z").apply(to: Array(config.utf8))
        #expect(try Self.history(patched.bytes).map(\.created) == ["2001-01-01T00:00:00Z", "2010-01-01T00:00:00Z"])
        #expect(patched.created == "2010-01-01T00:00:00Z")
    }

    @Test func `a result without config gets a minimal one`() throws {
        let patched = try Self.patch(1).apply(to: nil)
        let config = try JSONDecoder().decode(ImageConfig.self, from: Data(patched.bytes))
        #expect(config.platform == Self.platform)
        #expect(config.config.workingDir == "/")
        #expect(config.rootfs.diffIDs == [Digest.of([0])])
    }

    @Test(arguments: ["", "[]", "{", #"{"a":}"#, #"{"a" 1}"#, #"{"a":1}x"#, String(repeating: "[", count: 10_000)])
    func `what is no JSON object is refused`(text: String) {
        #expect(throws: ExportError.self) { try Self.patch(0).apply(to: Array(text.utf8)) }
    }

    @Test(
        arguments: [
            (0, 0, "1970-01-01T00:00:00Z"), (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"), (-1, 0, "1969-12-31T23:59:59Z"),
            (253_402_300_799, 1, "9999-12-31T23:59:59.000000001Z"),
            (.min, 0, "0001-01-01T00:00:00Z"), (.max, 0, "9999-12-31T23:59:59Z"),
        ] as [(Int64, UInt32, String)])
    func `times are RFC 3339 in UTC`(seconds: Int64, nanoseconds: UInt32, expected: String) {
        #expect(Timestamp.text(seconds: seconds, nanoseconds: nanoseconds) == expected)
    }

    @Test func `annotations go to their place, those of a platform win`() throws {
        let input = ExportInput(
            items: [], metadata: ["annotation.org.x": Array("frontend".utf8), "annotation.keep": Array("1".utf8)],
            attributes: [
                "annotation.org.x": "client", "annotation-manifest[linux/amd64].org.x": "amd64",
                "annotation-index.i": "2",
                "annotation-index-descriptor.d": "3",
            ])
        let annotations = try ImageAnnotations(input)
        let arm = try #require(Platform("linux/arm64"))
        #expect(annotations.annotations(.manifest, for: arm) == ["org.x": "client", "keep": "1"])
        #expect(annotations.annotations(.manifest, for: Self.platform) == ["org.x": "amd64", "keep": "1"])
        #expect(annotations.annotations(.index) == ["i": "2"])
        #expect(annotations.annotations(.indexDescriptor) == ["d": "3"])
        #expect(throws: ExportError.self) {
            try ImageAnnotations(ExportInput(items: [], attributes: ["annotation-nowhere.x": "1"]))
        }
    }

    @Test(arguments: ["gzip", "zstd", "uncompressed"])
    func `compression is lossless and deterministic`(name: String) throws {
        let compression = try LayerCompression(attributes: ["compression": name])
        let input = (0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 5) }
        func pack(pieces: Int) throws -> [UInt8] {
            var out: [UInt8] = []
            var compressor = try StreamCompressor(compression)
            for start in stride(from: 0, to: input.count, by: pieces) {
                try input[start..<min(start + pieces, input.count)].withUnsafeBytes { piece in
                    try compressor.write(piece) { out += $0 }
                }
            }
            try compressor.finish { out += $0 }
            return out
        }
        let packed = try pack(pieces: 65_536)
        #expect(try pack(pieces: 65_536) == packed)
        let file = FileManager.default.temporaryDirectory.path + "/peerbuild-pack-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: file) }
        try Data(packed).write(to: URL(fileURLWithPath: file))
        let tool = ["gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dc"], "uncompressed": ["cat"]][name] ?? []
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = tool + [file]
        let pipe = Foundation.Pipe()
        process.standardOutput = pipe
        try process.run()
        let unpacked = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect([UInt8](unpacked) == input)
    }

    @Test(arguments: [("compression", "estargz"), ("compression-level", "99"), ("compression-level", "x")])
    func `a compression that does not exist is refused with what to write`(name: String, value: String) {
        #expect(throws: ExportError.self) { try LayerCompression(attributes: [name: value]) }
    }

    @Test(
        arguments: [
            (nil, nil, "https://h/a/b.tar.gz?x=1", "b.tar.gz"), ("../../etc/passwd", nil, "https://h/x", "passwd"),
            (nil, "attachment; filename=\"../up.zip\"", "https://h/x", "up.zip"),
            (nil, "attachment; filename=..", "https://h/", "download"),
            (nil, nil, "https://h", "download"), (nil, nil, "https://h/a/", "a"),
        ] as [(String?, String?, String, String)])
    func `a downloaded file has a plain name`(attribute: String?, disposition: String?, url: String, expected: String) {
        #expect(HTTPFile.name(attribute: attribute, disposition: disposition, url: url) == expected)
    }

    @Test(
        arguments: [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("yesterday", nil),
            ("Thu, 29 Feb 2024 12:00:00 GMT", 1_709_208_000),
        ] as [(String, Int64?)])
    func `times of HTTP headers are read`(text: String, expected: Int64?) {
        #expect(HTTPDate.seconds(text) == expected)
    }
}
