#!/usr/bin/env bash
# A Docker engine of one's own, as root, where no init starts one: in CI, in a container (Debian: docker.io).
#
#   eval "$(scripts/engine.sh up)"     # prints what sets DOCKER_HOST
#   scripts/engine.sh down
#
# Images stay in the cache folder, or, while another engine has that one, in the state folder. Tests use whatever engine
# `docker` reaches.
set -euo pipefail
folder=${XDG_STATE_HOME:-$HOME/.local/state}/cecochat/engine
images=${XDG_CACHE_HOME:-$HOME/.cache}/cecochat/engine

say() { echo "$*" >&2; }
alive() { [[ -f $folder/pid ]] && kill -0 "$(<"$folder/pid")" 2>/dev/null; }
answers() { DOCKER_HOST=unix://$folder/socket docker version >/dev/null 2>&1; }

within_a_minute() {
    for _ in {1..600}; do
        "$@" && return
        sleep 0.1
    done
    return 1
}

up() {
    command -v dockerd >/dev/null || {
        say "dockerd is missing (Debian: docker.io)."
        return 1
    }
    alive || start
    within_a_minute answers || {
        tail -5 "$folder/log" >&2
        return 1
    }
    echo "export DOCKER_HOST=unix://$folder/socket"
}

start() {
    mkdir -p "$folder" "$images"
    exec 9>"$images.lock" # the engine keeps it open
    flock --nonblock 9 || images=$folder/images
    setsid dockerd --host "unix://$folder/socket" --pidfile "$folder/pid" --exec-root "$folder/exec" \
        --data-root "$images" </dev/null >"$folder/log" 2>&1 &
}

gone() { ! alive; }

down() {
    alive || return 0
    kill "$(<"$folder/pid")"
    within_a_minute gone || say "The engine does not stop: see $folder/log."
    umount "$folder"/exec/netns/* 2>/dev/null || true # what it leaves of networks, so that the folder can be deleted
}

case ${1:-} in
up) up ;;
down) down ;;
*)
    say "usage: $0 up | down"
    exit 2
    ;;
esac
