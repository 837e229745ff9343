#!/bin/sh
# Builds the image on a base that is named by its digest:
#
#   scripts/image.sh cecochat:0.1.0 [options of docker build]
#
# BASE=name[:tag][@sha256:...] names the base. Otherwise base-image.lock does, if it is committed, or else the Dockerfile.
# A tag alone is looked up first, so that both stages have the same base, which the image names in its labels.
set -eu
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
tag=$1
shift

base=${BASE:-}
if [ -z "$base" ] && [ -f base-image.lock ]; then
    base=$(cat base-image.lock)
fi
base=${base:-$(sed -n 's/^ARG BASE=//p' Dockerfile)}

case $base in
*@sha256:*) ;;
*)
    $docker pull --quiet "$base" >/dev/null
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

exec $docker build --build-arg "BASE=$base" --tag "$tag" \
    --label "org.opencontainers.image.base.name=${base%@*}" \
    --label "org.opencontainers.image.base.digest=${base#*@}" "$@" .
