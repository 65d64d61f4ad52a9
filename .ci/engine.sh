# For .ci/run, which sources it: a container engine, and a base for the sidecar's image where Docker Hub cannot be reached.

engine_folder=

# Use the engine that is there, or install one and start it; `stop_engine` ends it.
start_engine() {
    if docker_answers; then
        echo "The engine at ${DOCKER_HOST:-its usual place} is used."
        return
    fi
    command -v dockerd >/dev/null || apt_install docker.io iptables
    engine_folder=$(mktemp -d)
    export DOCKER_HOST=unix://$engine_folder/docker.sock
    as_root dockerd --host "$DOCKER_HOST" --data-root "$engine_folder/data" --exec-root "$engine_folder/exec" \
        --pidfile "$engine_folder/docker.pid" --group "$(id -gn)" >"$engine_folder/log" 2>&1 &
    engine=$!
    for _ in $(seq 120); do
        if docker_answers; then return; fi
        sleep 0.5
    done
    tail -n 20 "$engine_folder/log" >&2
    fail "the container engine does not start"
}

docker_answers() {
    .venv/bin/python -c 'import docker; docker.from_env(timeout=5).ping()' 2>/dev/null
}

# Does nothing where none was started.
stop_engine() {
    [ -n "$engine_folder" ] || return 0
    as_root kill "$(cat "$engine_folder/docker.pid")" && wait "$engine" || true
    as_root rm -rf "$engine_folder"
}

# Choose BASE_IMAGE: the one that the Dockerfile names if it can be had, or Debian with Python, made here. It is kept in
# build/ for the next time. The authorities that this machine trusts go along, for package indexes behind a proxy; they
# are in no image that is made of it, because its last stage begins with nothing.
choose_base_image() {
    local named root=build/base-image archive=build/base-image.tar
    [ -z "${BASE_IMAGE:-}" ] || return 0
    named=$(sed -n 's/^ARG BASE_IMAGE=//p' deploy/Dockerfile)
    if .venv/bin/python -c 'import docker, sys; docker.from_env(timeout=60).images.pull(sys.argv[1])' "$named" 2>/dev/null; then
        return
    fi
    if [ ! -f $archive ]; then
        command -v debootstrap >/dev/null || apt_install debootstrap
        as_root rm -rf $root
        as_root debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie $root >build/debootstrap.log ||
            fail "debootstrap: $(tail -n 3 build/debootstrap.log)"
        if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
            as_root cp /usr/local/share/ca-certificates/*.crt $root/usr/local/share/ca-certificates/
            as_root chroot $root update-ca-certificates >/dev/null
        fi
        as_root tar --create --numeric-owner --exclude './var/cache/apt/*' --exclude './var/lib/apt/lists/*' \
            --exclude './usr/share/doc/*' --exclude './usr/share/locale/*' --directory $root --file $archive .
        as_root rm -rf $root
    fi
    export BASE_IMAGE=secagg-base:trixie
    .venv/bin/python -c 'import docker, sys; docker.from_env(timeout=600).api.import_image_from_file(sys.argv[1], *sys.argv[2].split(":"))' \
        $archive "$BASE_IMAGE"
    echo "Docker Hub cannot be reached: $BASE_IMAGE was made of Debian's packages."
}
