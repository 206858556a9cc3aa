# Sourced by scripts/bench-transfer: the trees that are moved, below $work, and the other ways to move them.

size_of() { find "$1" -type f -printf '%i %s\n' | sort -u | awk '{ n += $2 } END { print n }'; }

tree_a() {
    [ -d "$work/A" ] && return
    mkdir "$work/A"
    (cd /usr && find include lib/gcc lib/x86_64-linux-gnu -xdev -printf '%p\t%s\t%y%i\n' | LC_ALL=C sort |
        awk -F'\t' '{ if ($3 ~ /^f/ && !seen[$3]++) n += $2; if (n <= 820e6) print $1 }' | cpio -pdm --quiet "$work/A")
    echo "tree A: $(find "$work/A" | wc -l) entries, $(size_of "$work/A") bytes in files" >&2
}

one_file() {
    [ -d "$work/file" ] && return
    mkdir "$work/file"
    openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c 1073741824 >"$work/file/file" || true
}

tiny_files() {
    [ -d "$work/tiny" ] && return
    local directory
    for directory in $(seq -w 1 100); do
        mkdir -p "$work/tiny/$directory"
        # 500 files of 0 to 2 KB; their words come from a file that compresses as sources do.
        (cd "$work/tiny/$directory" && awk -v seed="$directory" 'BEGIN {
            srand(seed)
            for (i = 0; i < 500; i++) {
                n = int(rand() * 40); text = ""
                for (j = 0; j < n; j++) text = text sprintf("line %d of %d: %.12f %.12f\n", j, i, rand(), rand())
                printf "%s", text >("f" i); close("f" i)
            }
        }')
    done
}

# Changes 1 % of tree A's bytes in stretches of so many bytes, each in a file that is long enough.
changed() { # STRETCH
    rm -rf "$work/changed"
    cp -a "$work/A" "$work/changed"
    local count=$((bytes / 100 / $1))
    find "$work/changed" -type f -size +"$(($1 / 1024))"k -printf '%s\t%p\n' | LC_ALL=C sort -k2 |
        awk -F'\t' -v n="$count" -v s="$1" '{ size[NR] = $1; path[NR] = $2; sum += $1 - s }
            END { srand(1); step = sum / n; at = step / 2; for (i = 1; i <= NR; i++) {
                while (at < size[i] - s) { printf "%d\t%s\n", at, path[i]; at += step > s ? step : s }
                at -= size[i] - s } }' |
        while IFS=$'\t' read -r offset path; do
            dd if="$work/noise" of="$path" bs=65536 count="$1" iflag=count_bytes oflag=seek_bytes seek="$offset" \
                conv=notrunc status=none
        done
}

# timed WAY COMMAND...: the wall time of one run as MB/s
timed() {
    local start way=$1
    shift
    start=$(now)
    "$@" || fail "$way failed"
    note "$way" "$(per "$bytes" "$(per $(($(now) - start)) 1e9)e6")"
}

rsync_run() { # TREE
    local port
    port=$(free_port)
    rm -rf "$work/copy"
    mkdir "$work/copy"
    printf 'use chroot = no\nuid = 0\ngid = 0\n[tree]\npath = %s\n' "$1" >"$work/rsyncd.conf"
    # shellcheck disable=SC2086
    $far rsync --daemon --no-detach --port "$port" --config "$work/rsyncd.conf" &
    servers+=($!)
    await "$port"
    # shellcheck disable=SC2086
    timed rsync $space rsync -aW "rsync://$host:$port/tree/" "$work/copy/"
    check "$1" "$work/copy"
    stop_servers
}

tar_run() { # TREE
    local port
    port=$(free_port)
    rm -rf "$work/copy"
    mkdir "$work/copy"
    # shellcheck disable=SC2086
    $far socat -u -b 262144 SYSTEM:"tar -C $1 -cf - ." TCP-LISTEN:"$port" &
    servers+=($!)
    await "$port"
    timed tar tar_receive "$port"
    check "$1" "$work/copy"
    stop_servers
}

tar_receive() {
    # shellcheck disable=SC2086
    $space socat -u -b 262144 "TCP:$host:$1" STDOUT | tar -C "$work/copy" -xpf -
}

registry_run() { # TREE
    local port
    port=$(free_port)
    rm -rf "$work/copy" "$work/registry"
    mkdir "$work/copy" "$work/registry"
    cat >"$work/registry.yml" <<EOF
version: 0.1
log: { accesslog: { disabled: true }, level: error }
storage: { filesystem: { rootdirectory: $work/registry } }
http: { addr: 127.0.0.1:$port }
EOF
    docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
    servers+=($!)
    await "$port"
    timed registry registry_trip "$1" "http://127.0.0.1:$port/v2/tree/blobs"
    check "$1" "$work/copy"
    stop_servers
    rm -rf "$work/registry"
}

# The layer is hashed while it is sent, as clients do.
registry_trip() { # TREE URL
    local place digest
    place=$(curl -fsS -X POST -D - -o /dev/null "$2/uploads/" | sed -n 's/^[Ll]ocation: \([^\r]*\).*/\1/p')
    place=$(tar -C "$1" -cf - . | gzip -6 | tee >(sha256sum | cut -d' ' -f1 >"$work/digest") |
        curl -fsS -X PATCH -H 'Content-Type: application/octet-stream' -T - -D - -o /dev/null "$place" |
        sed -n 's/^[Ll]ocation: \([^\r]*\).*/\1/p')
    until [ -s "$work/digest" ]; do sleep 0.01; done
    digest=sha256:$(cat "$work/digest")
    curl -fsS -X PUT "$place&digest=$digest" -o /dev/null
    curl -fsS "$2/$digest" | tar -C "$work/copy" -xzpf -
    rm "$work/digest"
}
