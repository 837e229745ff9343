#!/bin/sh
# Builds the image on a base that is named by its digest:
#
#   scripts/image.sh cecochat:0.1.0 [options of docker build]
#
# BASE=name[:tag][@sha256:...] names the base. Otherwise base-image.lock does, if it is committed, or else the Dockerfile.
# A tag alone is looked up first, so that the image names in its labels what it was built on. A base that
# scripts/base-image.sh has made is taken as it is.
set -eu
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
tag=$1
shift

build() { # with what base, and with what digest in the labels
    base=$1 digest=$2
    shift 2
    exec $docker build --build-arg "BASE=$base" --tag "$tag" \
        --label "org.opencontainers.image.base.name=${base%@*}" \
        --label "org.opencontainers.image.base.digest=$digest" "$@" .
}

made_here() {
    made_by=$($docker image inspect --format '{{index .Config.Labels "made-by"}}' "$1" 2>/dev/null) &&
        [ "$made_by" = cecochat/scripts/base-image.sh ]
}

base=${BASE:-}
if [ -z "$base" ] && [ -f base-image.lock ]; then
    base=$(cat base-image.lock)
fi
base=${base:-$(sed -n 's/^ARG BASE=//p' Dockerfile)}

case $base in
*@sha256:*) ;;
*)
    if made_here "$base"; then # no registry knows it: its id has to do for a digest
        build "$base" "$($docker image inspect --format '{{.Id}}' "$base")" "$@"
    fi
    $docker pull --quiet "$base" >/dev/null || {
        echo "There is no base $base to build on. If no registry can be reached, make it: scripts/base-image.sh $base" >&2
        exit 1
    }
    found=$($docker image inspect --format '{{index .RepoDigests 0}}' "$base")
    base=$base@${found#*@}
    echo "The base is not pinned: it is what its tag means today. To pin it, run this and commit the file:" >&2
    echo "    echo $base > base-image.lock" >&2
    ;;
esac
case $base in
*@sha256:????????????????????????????????????????????????????????????????) ;;
*)
    echo "$base names no digest: use name:tag@sha256:..." >&2
    exit 1
    ;;
esac
build "$base" "${base#*@}" "$@"
