/// Which frontend a client means.
enum FrontendName {
    /// `gateway.v0` runs a frontend from an image, but BuildKit's own Dockerfile frontend is built in.
    static func resolved(_ name: String, attributes: [String: String]) -> String {
        name == "gateway.v0" && attributes["source"] == "dockerfile.v0" ? "dockerfile.v0" : name
    }
}
