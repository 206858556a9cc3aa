internal import ArgumentParser
internal import BuildClient

extension ProgressMode: ExpressibleByArgument {}

/// Flags of `docker buildx build`.
struct BuildOptions: ParsableArguments {
    @Argument(help: "Directory, URL of a repository or archive, or - for standard input.") var context: String

    @Option(name: [.customShort("f"), .customLong("file")], help: "Dockerfile (default: PATH/Dockerfile).")
    var file: String?
    @Option(name: [.customShort("t"), .customLong("tag")], help: "Name of the image; may be repeated.")
    var tags: [String] = []
    @Option(help: "Stage to build.") var target: String?
    @Option(name: .customLong("build-arg"), help: "NAME=VALUE, or NAME from the environment.")
    var buildArguments: [String] = []
    @Option(
        name: .customLong("build-context"),
        help: "NAME=DIR, NAME=docker-image://REF, NAME=oci-layout://DIR[:TAG|@DIGEST] or NAME=URL.")
    var buildContexts: [String] = []
    @Option(name: .customLong("label"), help: "Label of the image, KEY=VALUE.") var labels: [String] = []
    @Option(name: .customLong("annotation"), help: "Annotation of the image, [TYPE:]KEY=VALUE.")
    var annotations: [String] = []
    @Option(name: .customLong("platform"), help: "Platforms to build for, such as linux/amd64,linux/arm64.")
    var platforms: [String] = []
    @Flag(name: .customLong("no-cache"), help: "Runs every step anew.") var noCache = false
    @Option(name: .customLong("no-cache-filter"), help: "Stages whose steps run anew.") var noCacheFilter: [String] = []
    @Flag(help: "Looks for newer base images.") var pull = false
    @Option(name: .customLong("secret"), help: "id=ID[,src=FILE|,env=NAME].") var secrets: [String] = []
    @Option(name: .customLong("ssh"), help: "default or ID[=SOCKET].") var ssh: [String] = []
    @Option(help: "Network of RUN steps: default, none or host.") var network: String?
    @Option(name: .customLong("add-host"), help: "HOST:IP in /etc/hosts of RUN steps.") var addedHosts: [String] = []
    @Option(name: .customLong("shm-size"), help: "Size of /dev/shm.") var sharedMemory: SizeArgument?
    @Option(name: .customLong("ulimit"), help: "NAME=SOFT[:HARD] of RUN steps.") var limits: [String] = []
    @Option(
        name: [.customShort("o"), .customLong("output")], help: "type=local|tar|oci|docker|image|registry|cacheonly,…")
    var outputs: [String] = []
    @Flag(help: "Short for --output type=registry.") var push = false
    @Flag(help: "Short for --output type=docker.") var load = false
    @Option(name: .customLong("iidfile"), help: "File for the image's id.") var imageIDFile: String?
    @Option(name: .customLong("metadata-file"), help: "File for the result's metadata in JSON.")
    var metadataFile: String?
    @Option(help: "auto, tty, plain, quiet or rawjson.") var progress: ProgressMode?
    @Option(name: .customLong("cache-from"), help: "type=registry,ref=REF, type=local,src=DIR or a reference.")
    var cacheFrom: [String] = []
    @Option(name: .customLong("cache-to"), help: "type=registry,ref=REF or type=inline.") var cacheTo: [String] = []
    @Option(name: .customLong("allow"), help: "network.host, security.insecure or device.") var allowed: [String] = []
    @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Prints the image's id only.") var quiet = false
    @Flag(help: "Checks the Dockerfile without building.") var check = false
}
