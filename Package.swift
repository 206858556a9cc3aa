// swift-tools-version: 6.3
import PackageDescription

// The module tree of docs/architecture.md. Arrows point down only; `scripts/lint` builds with
// `--explicit-target-dependency-import-check error`, which makes an undeclared import a failure.

/// Settings of every target of ours: Swift 6 mode, no warnings, explicit imports.
let own: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let grpcCore: Target.Dependency = .product(name: "GRPCCore", package: "grpc-swift-2")
let grpcProtobuf: Target.Dependency = .product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
let grpcTransport: Target.Dependency = .product(name: "GRPCNIOTransportHTTP2", package: "grpc-swift-nio-transport")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let httpClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")

func target(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: own)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: own)
}

let package = Package(
    name: "peerbuild",
    products: [
        .executable(name: "peerbuild", targets: ["PeerBuild"]),
        .executable(name: "peerbuild-fuzz", targets: ["Fuzz"]),
        .executable(name: "peerbuild-gossip-bench", targets: ["GossipBench"]),
        .executable(name: "peerbuild-simulate", targets: ["Simulate"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
        .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
        .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    ],
    targets: [
        // C libraries and system calls: no logic.
        .systemLibrary(name: "CUV", pkgConfig: "libuv", providers: [.apt(["libuv1-dev"])]),
        .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
        .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .target(name: "CLinux", linkerSettings: [.linkedLibrary("resolv")]),

        // Values.
        target("OCI", [crypto]),
        target("ClusterModel", ["OCI"]),
        target("PathPatterns", []),
        target("BuildSession", ["OCI"]),
        .target(name: "LLB", dependencies: ["OCI", protobuf], swiftSettings: own),

        // Cores: no I/O, no clock, no task.
        target("ClusterKeys", ["ClusterModel"]),
        target("Gossip", ["ClusterModel"]),
        target("CacheMap", ["ClusterModel", "OCI", "CSQLite"]),
        target("Transfer", ["ClusterModel", "OCI", "PathPatterns"]),
        target("Solver", ["CacheMap", "ClusterModel", "LLB", "OCI"]),
        target("DockerfileFrontend", ["LLB", "OCI", "PathPatterns"]),

        // Adapters: one foreign thing each.
        target("Sodium", ["ClusterKeys", "CSodium", crypto]),
        target("UVLoop", ["CLinux", "CUV"]),
        target("Wire", ["ClusterKeys", "ClusterModel", "Sodium", "UVLoop", logging]),
        target("GossipShell", ["ClusterModel", "Gossip", "Wire", logging]),
        target("ContentStore", ["CLinux", "OCI"]),
        target("Snapshots", ["CLinux", "ClusterModel", "ContentStore", "CZlib", "CZstd", "OCI", "Transfer"]),
        target("Registry", ["ContentStore", "OCI", httpClient, logging, nioCore, nioHTTP1, nioPosix, nioSSL]),
        target(
            "Worker",
            [
                "BuildSession", "CLinux", "ClusterModel", "ContentStore", "CSeccomp", "LLB", "OCI", "PathPatterns",
                "Registry", "Snapshots", "Transfer", "CZlib", "CZstd", httpClient, logging, nioCore, nioHTTP1,
            ]),
        .target(
            name: "BuildKitProtocol", dependencies: ["LLB", grpcCore, grpcProtobuf, protobuf],
            swiftSettings: own),
        target("FileSync", ["BuildKitProtocol", "CLinux", "PathPatterns"]),

        // One peer.
        target(
            "PeerRuntime",
            [
                "BuildSession", "CacheMap", "ClusterKeys", "ClusterModel", "ContentStore", "DockerfileFrontend",
                "Gossip",
                "GossipShell",
                "LLB", "OCI", "PathPatterns", "Registry",
                "Snapshots", "Sodium", "Solver", "Transfer", "Wire", "Worker", logging, protobuf,
            ]),
        target(
            "BuildKitAPI",
            [
                "BuildKitProtocol", "BuildSession", "ClusterModel", "FileSync", "LLB", "OCI", "PeerRuntime", grpcCore,
                grpcProtobuf, grpcTransport, logging,
                nioCore, nioPosix, protobuf,
            ]),
        target(
            "BuildClient",
            [
                "BuildKitProtocol", "FileSync", "LLB", "OCI", grpcCore, grpcProtobuf, grpcTransport, logging, nioCore,
                nioPosix, protobuf,
            ]),
        .executableTarget(
            name: "PeerBuild",
            dependencies: [
                "BuildClient", "BuildKitAPI", "BuildKitProtocol", "ClusterModel", "OCI", "PeerRuntime", "Registry",
                "Sodium", "TOMLKit",
                logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: own),
        // Mutated messages and archives into every decoder. Quick to build: cores, Wire and Snapshots, no gRPC, no NIO.
        .executableTarget(
            name: "Fuzz",
            dependencies: [
                "CacheMap", "ClusterKeys", "ClusterModel", "Gossip", "OCI", "Snapshots", "Sodium", "Transfer", "Wire",
            ],
            swiftSettings: own),
        .executableTarget(
            name: "GossipBench",
            dependencies: ["ClusterModel", "Gossip", "GossipShell", "Sodium", "UVLoop", "Wire", logging],
            swiftSettings: own),
        .executableTarget(
            name: "TransferBench",
            dependencies: ["ClusterModel", "OCI", "Snapshots", "Sodium", "Transfer", "Wire", logging],
            swiftSettings: own),
        target("Simulation", ["CacheMap", "ClusterKeys", "ClusterModel", "Gossip", "OCI", "Solver"]),
        .executableTarget(
            name: "Simulate",
            dependencies: [
                "CacheMap", "Gossip", "Simulation",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: own),

        // What `scripts/bench link` runs.
        .executableTarget(
            name: "LinkBenchmark", dependencies: ["ClusterModel", "Sodium", "Wire", logging], swiftSettings: own),

        // A real registry and a small HTTP server for the tests that need one.
        .target(
            name: "RegistryFixtures", dependencies: [nioCore, nioHTTP1, nioPosix], path: "Tests/RegistryFixtures",
            swiftSettings: own),
        tests("OCITests", ["OCI"]),
        tests("ClusterModelTests", ["ClusterModel", "OCI"]),
        tests("PathPatternsTests", ["PathPatterns"]),
        tests("FileSyncTests", ["BuildKitProtocol", "FileSync"]),
        tests("LLBTests", ["LLB", "OCI", protobuf]),
        tests("ClusterKeysTests", ["ClusterKeys", "ClusterModel"]),
        tests("GossipTests", ["ClusterKeys", "ClusterModel", "Gossip", "Simulation"]),
        tests("CacheMapTests", ["CacheMap", "ClusterModel", "Gossip", "OCI", "Simulation"]),
        tests("TransferTests", ["ClusterModel", "OCI", "PathPatterns", "Transfer"]),
        tests("SolverTests", ["CacheMap", "ClusterModel", "LLB", "OCI", "Simulation", "Solver", protobuf]),
        tests("DockerfileFrontendTests", ["DockerfileFrontend", "LLB", "OCI"], exclude: ["Golden"]),
        tests("SodiumTests", ["ClusterKeys", "Sodium"]),
        tests("UVLoopTests", ["UVLoop"]),
        tests("WireTests", ["ClusterKeys", "ClusterModel", "Sodium", "UVLoop", "Wire", logging]),
        tests("ContentStoreTests", ["ContentStore", "OCI"]),
        tests("SnapshotsTests", ["CLinux", "ClusterModel", "ContentStore", "OCI", "Snapshots", "Transfer"]),
        tests("RegistryTests", ["ContentStore", "OCI", "Registry", "RegistryFixtures", logging]),
        tests(
            "WorkerTests",
            [
                "BuildSession", "ClusterModel", "ContentStore", "LLB", "OCI", "Registry", "RegistryFixtures",
                "Snapshots", "Transfer", "Worker", logging,
            ]),
        tests(
            "PeerRuntimeTests",
            [
                "BuildSession", "CacheMap", "ClusterKeys", "ClusterModel", "Gossip", "LLB", "OCI", "PeerRuntime",
                "Registry",
                "RegistryFixtures", "Snapshots", "Sodium", "Solver", "Worker", logging, protobuf,
            ]),
        tests(
            "BuildKitAPITests",
            [
                "BuildKitAPI", "BuildKitProtocol", "BuildSession", "FileSync", "LLB", "OCI", "PeerRuntime", grpcCore,
                grpcTransport,
                logging, nioCore, nioPosix, protobuf,
            ]),
        tests(
            "BuildClientTests",
            ["BuildClient", "BuildKitProtocol", "LLB", grpcCore, grpcTransport, logging, nioCore, nioPosix]),
        tests(
            "PeerBuildTests",
            ["BuildClient", "OCI", "PeerBuild", .product(name: "ArgumentParser", package: "swift-argument-parser")]),
        tests("EndToEndTests", ["ClusterModel", "OCI", "RegistryFixtures"]),
    ],
    swiftLanguageModes: [.v6]
)
