extension InstructionParser {
    func copy(_ raw: RawInstruction) throws(DockerfileError) -> Instruction.Copy {
        let flags = try InstructionFlags(
            raw.flags,
            allowed: [
                ("chown", .text), ("from", .text), ("chmod", .text), ("link", .boolean), ("parents", .boolean),
                ("exclude", .list),
            ])
        var copy = try sources(raw, isAdd: false)
        copy.from = flags.text("from")
        copy.keepsParents = flags.boolean("parents") ?? false
        common(flags, &copy)
        return copy
    }

    func add(_ raw: RawInstruction) throws(DockerfileError) -> Instruction.Copy {
        let flags = try InstructionFlags(
            raw.flags,
            allowed: [
                ("chown", .text), ("chmod", .text), ("link", .boolean), ("keep-git-dir", .boolean), ("checksum", .text),
                ("unpack", .boolean), ("exclude", .list),
            ])
        var copy = try sources(raw, isAdd: true)
        copy.checksum = flags.text("checksum")
        copy.keepsGitDirectory = flags.boolean("keep-git-dir")
        copy.unpacks = flags.boolean("unpack")
        common(flags, &copy)
        return copy
    }

    private func common(_ flags: InstructionFlags, _ copy: inout Instruction.Copy) {
        copy.owner = flags.text("chown")
        copy.mode = flags.text("chmod")
        copy.isLinked = flags.boolean("link") ?? false
        copy.excludes = flags.list("exclude")
    }

    private func sources(_ raw: RawInstruction, isAdd: Bool) throws(DockerfileError) -> Instruction.Copy {
        let words: [String]
        switch JSONStringArray.parse(raw.arguments) {
        case .strings(let list): words = list
        case .otherElements: throw fault("when using JSON array syntax, arrays must be comprised of strings only")
        case .noArray:
            words =
                raw.heredocs.isEmpty
                ? Self.words(raw.arguments) : ShellWords.split(raw.arguments, escape: escape)
        }
        guard let destination = words.last else { throw fault("\(raw.name) requires at least one argument") }
        guard words.count > 1 else {
            throw fault(
                "\(raw.name) requires at least two arguments, but only one was provided. "
                    + "Destination could not be determined")
        }
        if Heredoc(word: destination) != nil, !raw.heredocs.isEmpty {
            throw fault("\(raw.name) cannot accept a heredoc as a destination")
        }
        var copy = Instruction.Copy(isAdd: isAdd, sources: [], contents: [], destination: destination)
        var pending = raw.heredocs[...]
        for word in words.dropLast() {
            if !raw.heredocs.isEmpty, Heredoc(word: word) != nil, let heredoc = pending.popFirst() {
                copy.contents.append(
                    Instruction.Content(name: heredoc.name, data: heredoc.text, expands: heredoc.expands))
            } else {
                copy.sources.append(word)
            }
        }
        return copy
    }
}
