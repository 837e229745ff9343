#!/usr/bin/env bash
# Makes the base of the image where no registry can be reached, on Debian, as root:
#
#   scripts/base-image.sh [python:3.11-slim-bookworm]
#
# It gets the name that the Dockerfile asks for, and scripts/image.sh knows it by its label. Inside are Debian and its
# Python, from what this machine's apt trusts. Only the build uses them: scripts/image-root.sh says what it takes along.
set -euo pipefail
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
name=${1:-$(sed -n 's/^ARG BASE=//p' Dockerfile)}
suite=${name##*-}
included=(ca-certificates python-is-python3 python3-venv)

say() { echo "$*" >&2; }

make_root() {
    local mirror
    # shellcheck disable=SC2016 # apt's own variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" 'Origin: Debian' 'Created-By: Packages' | head -1)
    debootstrap --variant=minbase --include="$(IFS=,; echo "${included[*]}")" "$suite" "$root" ${mirror:+"$mirror"} \
        >"$root.log" || {
        tail -5 "$root.log" >&2
        return 1
    }
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
}

# The build fetches packages as this machine does.
trust_what_is_trusted_here() {
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
    chroot "$root" update-ca-certificates >/dev/null 2>&1
    cp /etc/pip.conf "$root/etc/" 2>/dev/null || true
}

# Its name says which Python is inside.
check_python() {
    local python
    python=$(chroot "$root" python -c 'import sys; print("python:%d.%d-" % sys.version_info[:2])')
    [[ $name == "$python"* ]] || {
        say "Debian $suite has another Python than $name says: $python..."
        return 1
    }
}

for program in debootstrap apt-get "$docker"; do
    command -v "$program" >/dev/null || {
        say "$program is missing (Debian: debootstrap, apt, docker.io)."
        exit 1
    }
done
((EUID == 0)) || {
    say "Run this as root: debootstrap needs it."
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
say "Making $name from the packages of Debian $suite (about a minute) ..."
make_root
trust_what_is_trusted_here
check_python
tar --create --numeric-owner --directory "$root" . |
    $docker import --change 'LABEL made-by=cecochat/scripts/base-image.sh' --change 'CMD ["python"]' - "$name"
