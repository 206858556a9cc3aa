internal import FoundationEssentials
internal import LLB
internal import OCI
internal import Testing

struct BuilderTests {
    private func image() -> (DefinitionBuilder, DefinitionBuilder.Edge) {
        var builder = DefinitionBuilder()
        var source = Pb_SourceOp()
        source.identifier = "docker-image://127.0.0.1:5961/busybox:latest"
        let edge = builder.add(.source(source), platform: Platform(os: "linux", architecture: "amd64"))
        return (builder, edge)
    }

    @Test func `an image source has the bytes and digest of BuildKit's own`() throws {
        let (builder, edge) = image()
        let definition = try builder.definition(of: edge)
        #expect(
            Digest.of([UInt8](definition.def[0])).hex
                == "878f98e6da8087129cc091f9a9cee25767bb88b6eb0e4555f70bec8cadd88735")
        #expect(try builder.digest(of: edge).hex == "878f98e6da8087129cc091f9a9cee25767bb88b6eb0e4555f70bec8cadd88735")
        #expect(definition.def.count == 2)
        #expect(definition.metadata.count == 2)
    }

    @Test func `scratch is the empty definition`() throws {
        #expect(try DefinitionBuilder().definition(of: nil).def.isEmpty)
    }

    @Test func `equal ops are one vertex and unused ones are left out`() throws {
        var (builder, first) = image()
        var source = Pb_SourceOp()
        source.identifier = "docker-image://127.0.0.1:5961/busybox:latest"
        let second = builder.add(.source(source), platform: Platform(os: "linux", architecture: "amd64"))
        source.identifier = "local://unused"
        _ = builder.add(.source(source))
        var merge = Pb_MergeOp()
        merge.inputs = [Pb_MergeInput(), Pb_MergeInput()]
        let top = builder.add(.merge(merge), inputs: [first, second])
        let definition = try builder.definition(of: top)
        #expect(definition.def.count == 3)
        let op = try DefinitionBuilder.decode([UInt8](definition.def[1]))
        #expect(op.inputs.count == 2 && op.inputs[0] == op.inputs[1])
    }

    @Test func `attributes are written in one order and may be amended`() throws {
        let digests = try (0..<20).map { round in
            var builder = DefinitionBuilder()
            var source = Pb_SourceOp()
            source.identifier = "local://context"
            for key in ["a", "b", "c", "d", "e", "f"].shuffled() { source.attrs["local." + key] = "\(round * 0)" }
            let edge = builder.add(.source(source))
            builder.amendSource(edge) { $0["local.followpaths"] = "[]" }
            return try builder.digest(of: edge)
        }
        #expect(Set(digests).count == 1)
    }

    @Test func `foreign graphs keep their bytes`() throws {
        let (builder, edge) = image()
        let original = try builder.definition(of: edge)
        var other = DefinitionBuilder()
        let taken = try #require(try other.add(original))
        let copy = try other.definition(of: taken)
        #expect(copy.def == original.def)
        #expect(try other.add(Pb_Definition()) == nil)
        var broken = original
        broken.def[1] = original.def[0]
        #expect(throws: DefinitionBuilderError.self) { try other.add(broken) }
        broken.def = [Data([0xFF])]
        #expect(throws: DefinitionBuilderError.self) { try other.add(broken) }
        broken.def = [original.def[1]]
        #expect(throws: DefinitionBuilderError.self) { try other.add(broken) }
    }

    @Test func `capabilities and locations come with the ops`() throws {
        var builder = DefinitionBuilder()
        var info = Pb_SourceInfo()
        info.filename = "Dockerfile"
        var location = Pb_Location()
        location.sourceIndex = builder.addSourceFile(info)
        var exec = Pb_ExecOp()
        exec.meta.args = ["x"]
        var cache = Pb_Mount()
        cache.mountType = .cache
        exec.mounts = [cache]
        let edge = builder.add(.exec(exec), locations: [location])
        let definition = try builder.definition(of: edge)
        let digest = try builder.digest(of: edge).description
        #expect(definition.metadata[digest]?.caps["exec.mount.cache"] == true)
        #expect(definition.source.locations[digest]?.locations == [location])
        #expect(definition.source.infos == [info])
    }
}
