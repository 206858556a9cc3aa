# Sourced by scripts/demo and scripts/bench: nodes on loopback in a directory of their own, and their end.
# Gives $peerbuild, $work, start_cluster, stop_cluster, address, wait_for_members, run_bundle.

work=
nodes=()
pids=()

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "run as root: nodes mount overlays and start containers"
}

# Builds the executable in release mode, or takes the one that $PEERBUILD_BINARY names.
build_release() {
    peerbuild=${PEERBUILD_BINARY:-$PWD/.build/release/peerbuild}
    if [ -z "${PEERBUILD_BINARY:-}" ]; then
        swift build -c release -j 2 --product peerbuild >&2
    fi
    [ -x "$peerbuild" ] || fail "there is no executable $peerbuild"
}

# A directory for everything that the script makes; it goes away with the script, however that ends.
make_work() {
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/peerbuild-XXXXXX")
    trap 'end_work $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # An overlay can't have another overlay as its upper layer, which is what a container's own files are.
    if [ "$(stat -f -c %T "$work")" = overlayfs ]; then mount -t tmpfs tmpfs "$work"; fi
}

end_work() {
    trap - EXIT INT TERM
    if [ "$1" != 0 ]; then
        for node in "${nodes[@]}"; do
            echo "--- last lines of node $node" >&2
            tail -n 15 "$work/$node.log" >&2 || true
        done
    fi
    stop_cluster
    # What a script made beside the nodes' directory.
    if declare -F after_cluster >/dev/null; then after_cluster; fi
    # Deepest first; a node that was killed may have left some.
    awk -v root="$work" 'index($5, root) == 1 { print length($5), $5 }' /proc/self/mountinfo | sort -rn |
        cut -d' ' -f2 | while read -r path; do umount -l "$path" 2>/dev/null || true; done
    rm -rf "$work"
    exit "$1"
}

# A TCP and UDP port of loopback that nobody uses now.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        if [ -z "$(ss -Htuln "sport = :$port")" ]; then
            echo "$port"
            return
        fi
    done
}

address() { echo "unix://$work/$1.sock"; }

# start_cluster SLOTS NAME...: nodes with one key; the first is the seed of the others.
start_cluster() {
    local slots=$1 name port seed=
    shift
    (umask 077 && "$peerbuild" keygen >"$work/key")
    for name in "$@"; do
        port=$(free_port)
        "$peerbuild" node --name "$name" --root "$work/$name" --addr "$(address "$name")" --bind "127.0.0.1:$port" \
            ${seed:+--join "$seed"} --cluster-key-file "$work/key" --slots "$slots" >"$work/$name.log" 2>&1 &
        pids+=($!)
        nodes+=("$name")
        seed=${seed:-127.0.0.1:$port}
        until [ -S "$work/$name.sock" ]; do
            kill -0 "${pids[-1]}" 2>/dev/null || fail "node $name did not start"
            sleep 0.05
        done
    done
    wait_for_members "$@"
}

alive() { "$peerbuild" status -H "$(address "$1")" --format json | jq '[.members[] | select(.state == "alive")] | length'; }

# Until every node named sees as many alive members as there are names.
wait_for_members() {
    local name deadline=$((SECONDS + 30))
    for name in "$@"; do
        until [ "$(alive "$name" 2>/dev/null)" = $# ]; do
            [ $SECONDS -lt $deadline ] || fail "node $name sees $(alive "$name") alive members after 30 s, not $#"
            sleep 0.1
        done
    done
}

stop_cluster() {
    local pid deadline=$((SECONDS + 15))
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        while kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.05; done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    pids=()
    nodes=()
}

# unpack_image ARCHIVE DIR: the layers of an OCI archive as DIR/rootfs, its config as DIR/image.json.
unpack_image() {
    local layout=$2/layout manifest digest
    mkdir -p "$layout" "$2/rootfs"
    tar -xf "$1" -C "$layout"
    blob() { echo "$layout/blobs/${1/://}"; }
    manifest=$(blob "$(jq -r '.manifests[0].digest' "$layout/index.json")")
    # An index of one platform may be in between.
    if jq -e .manifests "$manifest" >/dev/null; then
        manifest=$(blob "$(jq -r '.manifests[0].digest' "$manifest")")
    fi
    cp "$(blob "$(jq -r .config.digest "$manifest")")" "$2/image.json"
    for digest in $(jq -r '.layers[].digest' "$manifest"); do
        # tar sees by itself how a layer is compressed. Whiteouts are for files of layers below: none in our images.
        tar -xf "$(blob "$digest")" -C "$2/rootfs"
        if find "$2/rootfs" -name '.wh.*' | grep -q .; then fail "layer $digest deletes files; use umoci to unpack it"; fi
    done
}

# make_bundle DIR [ARGUMENT...]: a minimal OCI config for DIR/rootfs that runs what the image says, or the arguments.
make_bundle() {
    local bundle=$1
    shift
    jq -n --slurpfile image "$bundle/image.json" --args '
        ($image[0].config // {}) as $c
        | (["PID", "IPC", "UTS", "mount"] | map({type: (ascii_downcase)})) as $namespaces
        | { ociVersion: "1.0.2", root: {path: "rootfs"}, hostname: "hello",
            process: {
                user: {uid: 0, gid: 0}, cwd: (if ($c.WorkingDir // "") == "" then "/" else $c.WorkingDir end),
                env: ($c.Env // []), noNewPrivileges: true,
                args: (if ($ARGS.positional | length) > 0 then $ARGS.positional
                       else ($c.Entrypoint // []) + ($c.Cmd // []) end) },
            mounts: [
                {destination: "/proc", type: "proc", source: "proc"},
                {destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"]} ],
            linux: {namespaces: $namespaces} }' "$@" >"$bundle/config.json"
}

# Runs a bundle with crun. crun 1.8 refuses a machine with control groups v1 beside a v2 hierarchy that has
# controllers; detached in a mount namespace of its own, the v2 hierarchy is out of its sight.
run_bundle() {
    unshare --mount --propagation private sh -c '
        if grep -qs . /sys/fs/cgroup/unified/cgroup.controllers; then umount -l /sys/fs/cgroup/unified; fi
        exec crun --root "$1/state" run --bundle "$1" "$2"' sh "$1" "peerbuild-$$-${2:-0}"
}
