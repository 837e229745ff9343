#!/usr/bin/env bash
# Runs README's two commands as a new user does on a machine that has nothing else:
#
#   scripts/fresh.sh            this Debian's release
#   scripts/fresh.sh trixie     another one, and so another Python
#
# The machine is a folder made by debootstrap with git, make and python3-venv; the clone is what is
# committed here. The user is not root, the folder's name has a space, LANG is C. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "SKIPPED, no fresh machine was tried: $1" >&2
    exit 0
}

((EUID == 0)) || skip "that takes root"
command -v debootstrap >/dev/null || skip "install debootstrap"
unshare --mount --pid --fork true 2>/dev/null || skip "this machine allows no namespaces (unshare)"

suite=${1:-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)}
mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 || true)
checkout=$PWD
root=$(mktemp -d)
chmod 755 "$root"
trap 'rm -rf --one-file-system "$root" "$root.log"' EXIT

echo "Making a bare Debian $suite (a minute) ..."
debootstrap --variant=minbase --include=ca-certificates,git,make,python3-venv "$suite" "$root" \
    ${mirror:+"${mirror% }"} >"$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }

# Tell the fresh machine how to reach the package registry, if this one has to be told, too.
for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [[ -e $file ]] && install -D --mode 0644 "$(realpath "$file")" "$root$file"
done
useradd --root "$root" --create-home --shell /bin/sh newcomer
home="$root/home/newcomer"
git clone --quiet "file://$checkout" "$home/my chat"
install --mode 0755 scripts/fresh-user.sh "$root/usr/local/bin/fresh-user"
chown --recursive --reference "$home" "$home/my chat"

# The end of the namespace ends everything that was started and mounted in it.
# shellcheck disable=SC2016 # the inner shell expands them
unshare --mount --pid --fork --kill-child bash -euc '
    mount --make-rprivate /
    mount --types proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    chroot=$(PATH=$PATH:/usr/sbin command -v chroot)
    exec env --ignore-environment PATH=/usr/local/bin:/usr/bin:/bin HOME=/home/newcomer LANG=C \
        TZ=Pacific/Chatham SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
        "$chroot" --userspec=newcomer "$1" fresh-user' - "$root" </dev/null
