#!/usr/bin/env bash
# The test cluster from the host's side: scripts/cluster/host.sh up [GUEST ...] | down | box. `make cluster-up` and so on call it.
#
# An existing cluster stays with its provider. A new one uses VirtualBox or libvirt with a public box, if one of them is
# installed, or else containers (lxc) with a box made here, which needs root and Debian. VAGRANT_DEFAULT_PROVIDER and BOX
# choose something else.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/cecochat/cluster
image=local/cecochat-node:latest
bridge=cecochat0 bridge_address=192.168.56.254/24 # as vagrant-lxc would make it

# The packages that lxc and docker need on the host.
packages=(vagrant vagrant-lxc lxc dnsmasq-base iptables bridge-utils sudo rsync openssh-client iputils-ping redir)

provider() {
    local id
    id=$(compgen -G '.vagrant/machines/*/*/id' | head -n 1) || true
    if [[ $id ]]; then
        basename "$(dirname "$id")"
    elif [[ -n ${VAGRANT_DEFAULT_PROVIDER:-} ]]; then
        echo "$VAGRANT_DEFAULT_PROVIDER"
    elif command -v VBoxManage >/dev/null; then
        echo virtualbox
    elif command -v virsh >/dev/null; then
        echo libvirt
    else
        echo lxc
    fi
}

say() { echo "$*" >&2; }

need() { # packages of Debian
    local package missing=()
    for package; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID)); then
        say "Missing: ${missing[*]}. Install them, or run this as root."
        exit 1
    fi
    say "Installing ${missing[*]} ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --option Dpkg::Use-Pty=0 --yes --no-install-recommends \
        "${missing[@]}" >/dev/null
}

# The bridge of LXC, with addresses and names for the guests. If an init runs, it is a service.
lxc_network() {
    # Make the private network here, because guests that start at the same time would each try to make it.
    ip link show "$bridge" >/dev/null 2>&1 || {
        ip link add "$bridge" type bridge
        ip address add "$bridge_address" dev "$bridge"
        ip link set "$bridge" up
    }
    ip link show lxcbr0 >/dev/null 2>&1 && return
    if [[ -d /run/systemd/system ]]; then
        systemctl start lxc-net
    else
        "$(dpkg -L lxc | grep 'libexec.*/lxc-net$')" start
    fi
}

lxc_network_down() {
    local link
    for link in $(ip -oneline link show master "$bridge" 2>/dev/null | sed 's/^[0-9]*: \([^@:]*\).*/\1/'); do
        ip link delete "$link" || true # left by guests that are gone
    done
    ip link delete "$bridge" 2>/dev/null || true
    [[ -d /run/systemd/system || -n $(lxc-ls) ]] || "$(dpkg -L lxc | grep 'libexec.*/lxc-net$')" stop || true
}

# A guest whose monitor was killed leaves its control groups, and cannot start while they are there.
stale_cgroups() {
    local folder name state
    for folder in /sys/fs/cgroup/{,*/}vagrant/{,monitor-}server*; do
        name=${folder##*/}
        state=$(lxc-info --no-humanize --state --name "${name#monitor-}" 2>/dev/null) || true
        [[ ! -d $folder || ${state:-STOPPED} != STOPPED ]] ||
            find "$folder" -depth -type d -exec rmdir {} + || say "$folder is in use."
    done
}

# When the recipe changes, so does the name of the box.
box_name() { echo "cecochat-debian-12-$(sha256sum scripts/cluster/box.sh | cut -c1-8)"; }
box_file() { echo "$cache/$(box_name).box"; }

make_box() {
    local file
    file=$(box_file)
    [[ -f $file ]] && return
    need debootstrap "${packages[@]}"
    say "Making a box of Debian 12 (two minutes) ..."
    mkdir -p "$cache"
    scripts/cluster/box.sh "$file"
    say "It is in $file."
}

# Make the box for docker.
make_image() (
    as_it_is=(--numeric-owner --xattrs --xattrs-include='*')
    folder=$(mktemp --directory --tmpdir="$cache")
    trap 'rm -r --one-file-system "$folder"' EXIT
    tar --extract --to-stdout --file "$1" rootfs.tar.gz |
        tar --extract --gzip "${as_it_is[@]}" --exclude './rootfs/dev/*' --directory "$folder"
    tar --create "${as_it_is[@]}" --directory "$folder/rootfs" . |
        docker import --change 'CMD ["/lib/systemd/systemd"]' --change 'EXPOSE 22' \
            --change "LABEL box=$(box_name)" - "$image" >/dev/null
)

use_box() {
    local file
    make_box
    file=$(box_file)
    if [[ $(provider) == docker ]]; then
        [[ $(docker image inspect --format '{{.Config.Labels.box}}' "$image" 2>/dev/null) == "$(box_name)" ]] ||
            make_image "$file"
        export BOX=$image
    else
        vagrant box list | grep -q "^$(box_name) " || vagrant box add --name "$(box_name)" "$file" >/dev/null
        BOX=$(box_name)
        export BOX
    fi
}

up() {
    export VAGRANT_DEFAULT_PROVIDER
    VAGRANT_DEFAULT_PROVIDER=$(provider)
    case $VAGRANT_DEFAULT_PROVIDER in
    lxc | docker)
        need "${packages[@]}"
        if [[ $VAGRANT_DEFAULT_PROVIDER == lxc ]]; then
            lxc_network
            stale_cgroups
        fi
        [[ -n ${BOX:-} ]] || use_box
        ;;
    esac
    command -v vagrant >/dev/null || {
        say "Vagrant is missing: install it (Debian: vagrant) and do this again."
        exit 1
    }
    # Build these once here, instead of in a guest.
    if [[ $(uname -s) == Linux ]]; then
        python3 -m scripts.backends provision kafka cassandra consul jaeger prometheus || say "The guests will try it themselves."
    fi
    # Guests that have lost their disks come back one by one: docs/adr/0060 says why.
    compgen -G '.vagrant/machines/*/*/id' >/dev/null && set -- --no-parallel "$@"
    vagrant up "$@"
}

down() {
    local id provider
    provider=$(provider)
    unset SECURE # the cluster stays as it was made
    for id in .vagrant/machines/*/lxc/id; do # all at once, instead of stopping one server after the other
        [[ ! -f $id ]] || lxc-stop --kill --name "$(cat "$id")" || true
    done
    vagrant destroy --force
    if [[ $provider == lxc ]]; then
        lxc_network_down
        stale_cgroups
        rmdir /sys/fs/cgroup/{,*/}vagrant 2>/dev/null || true
    fi
    [[ $provider != docker ]] || docker image rm --force "$image" >/dev/null
    vagrant box list | sed -n 's/^\(cecochat-debian-12-[^ ]*\) .*/\1/p' | # the files that they came from stay
        xargs --no-run-if-empty --max-args 1 vagrant box remove --force >/dev/null
    rm -rf .vagrant
}

case ${1:-} in
up) up "${@:2}" ;;
down) down ;;
box) use_box ;;
*)
    say "usage: $0 up [GUEST ...] | down | box"
    exit 2
    ;;
esac
