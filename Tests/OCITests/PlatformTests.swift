import OCI
import Testing

@Suite struct PlatformTests {
    @Test(arguments: [
        ("linux/amd64", "linux/amd64"), ("amd64", "linux/amd64"), ("linux/x86_64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"), ("linux/aarch64", "linux/arm64"), ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"), ("linux/armhf", "linux/arm/v7"), ("LINUX/AMD64", "linux/amd64"),
    ])
    func `platforms have one form`(text: String, normal: String) {
        #expect(Platform(text)?.description == normal)
    }

    @Test(arguments: ["", "/", "linux/", "a/b/c/d"])
    func `other texts are no platform`(text: String) {
        #expect(Platform(text) == nil)
    }
}
