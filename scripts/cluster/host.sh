#!/usr/bin/env bash
# The test cluster from the host's side: scripts/cluster/host.sh up | down | box. `make cluster-up` and so on call it.
#
# Where VirtualBox or libvirt is, that is taken with a public box; else containers (lxc) with a box made here, which needs
# root and Debian. VAGRANT_DEFAULT_PROVIDER and BOX choose otherwise.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/cecochat/cluster
image=local/cecochat-node:latest
bridges=(cecochat0 lxcbr0)

# For lxc and docker, on the host.
packages=(vagrant vagrant-lxc lxc dnsmasq-base iptables bridge-utils sudo rsync openssh-client iputils-ping redir)

# In the box already, so that no guest has to fetch them; other boxes get them when they are provisioned.
in_the_box=(ca-certificates dbus iproute2 iputils-ping netbase openjdk-17-jre-headless openssh-server procps
    python3-venv redis-server rsync sudo systemd systemd-sysv)

provider() {
    if [[ -n ${VAGRANT_DEFAULT_PROVIDER:-} ]]; then
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

# The bridge of LXC, with addresses and names for the guests: a service of its own where an init runs.
lxc_network() {
    ip link show lxcbr0 >/dev/null 2>&1 && return
    if [[ -d /run/systemd/system ]]; then
        systemctl start lxc-net
    else
        "$(dpkg -L lxc | grep 'libexec.*/lxc-net$')" start
    fi
}

lxc_network_down() {
    local link
    for link in $(ip -oneline link show type veth 2>/dev/null | sed -n 's/^[0-9]*: \(veth1pl[^@:]*\).*/\1/p'); do
        ip link delete "$link" || true
    done
    ip link delete "${bridges[0]}" 2>/dev/null || true
    [[ -d /run/systemd/system ]] || "$(dpkg -L lxc | grep 'libexec.*/lxc-net$')" stop || true
}

# The box is made of what this machine's apt trusts: its sources, its settings, its authorities.
make_rootfs() {
    local root=$1 mirror
    mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources)
    debootstrap --variant=minbase --include="$(IFS=,; echo "${in_the_box[*]}")" bookworm "$root" "$mirror" >"$root.log" || {
        tail -5 "$root.log" >&2
        return 1
    }
    rm -f "$root/etc/apt/sources.list"
    cp /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/"
    cp --no-clobber /etc/apt/apt.conf.d/* "$root/etc/apt/apt.conf.d/"
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
    chroot "$root" update-ca-certificates >/dev/null 2>&1
    cp /etc/pip.conf "$root/etc/" 2>/dev/null || true
    prepare_user "$root"
    prepare_system "$root"
}

prepare_user() {
    local root=$1 home=$1/home/vagrant
    chroot "$root" useradd --create-home --shell /bin/bash --password '*' vagrant
    install --directory --mode 700 "$home/.ssh"
    # Vagrant's well-known key: it replaces it at the first start.
    install --mode 600 "$(dpkg -L vagrant | grep 'keys/vagrant\.pub$')" "$home/.ssh/authorized_keys"
    chroot "$root" chown --recursive vagrant:vagrant /home/vagrant/.ssh
    echo 'vagrant ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/vagrant"
    chmod 440 "$root/etc/sudoers.d/vagrant"
    echo 'UseDNS no' >>"$root/etc/ssh/sshd_config"
}

prepare_system() {
    local root=$1 unit
    # Not ifupdown: naming the host restarts its interfaces, which waits for devices that a container has not.
    printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n[DHCPv4]\nUseDNS=no\nClientIdentifier=mac\n' \
        >"$root/etc/systemd/network/eth0.network"
    chroot "$root" systemctl --quiet enable systemd-networkd
    chroot "$root" systemctl --quiet disable redis-server 2>/dev/null || true
    rm -f "$root/etc/resolv.conf"
    echo 'nameserver 10.0.3.1' >"$root/etc/resolv.conf"
    echo vagrant >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 vagrant\n' >"$root/etc/hosts"
    for unit in systemd-udevd.service systemd-udev-trigger.service getty@tty1.service apt-daily.timer \
        apt-daily-upgrade.timer systemd-networkd-wait-online.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    : >"$root/etc/machine-id"
}

# Another recipe makes another box.
box_name() { echo "cecochat-debian-12-$(sha256sum scripts/cluster/host.sh | cut -c1-8)"; }
box_file() { echo "$cache/$(box_name).box"; }

make_box() {
    local file work
    file=$(box_file)
    [[ -f $file ]] && return
    need debootstrap "${packages[@]}"
    say "Making a box of Debian 12 (two minutes) ..."
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.box.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf --one-file-system '$work'" EXIT
    make_rootfs "$work/rootfs"
    printf '%s\n' 'lxc.include = /usr/share/lxc/config/common.conf' 'lxc.arch = amd64' \
        'lxc.apparmor.profile = unconfined' 'lxc.tty.max = 1' 'lxc.pty.max = 1024' >"$work/lxc-config"
    echo '{"provider":"lxc","version":"1.0.0"}' >"$work/metadata.json"
    # --xattrs: ping's capability is one.
    tar --create --numeric-owner --xattrs --xattrs-include='*' --directory "$work" ./rootfs | gzip -1 >"$work/rootfs.tar.gz"
    tar --create --file "$work/box" --directory "$work" metadata.json lxc-config rootfs.tar.gz
    mv "$work/box" "$file"
    rm -rf --one-file-system "$work"
    trap - EXIT
    say "It is in $file."
}

use_box() {
    local file
    make_box
    file=$(box_file)
    if [[ $(provider) == docker ]]; then
        docker image inspect "$image" >/dev/null 2>&1 || tar --extract --to-stdout --file "$file" rootfs.tar.gz |
            gunzip | tar --delete --wildcards './rootfs/dev/*' 2>/dev/null |
            docker import --change 'CMD ["/lib/systemd/systemd"]' --change 'EXPOSE 22' - "$image" >/dev/null
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
        [[ $VAGRANT_DEFAULT_PROVIDER == docker ]] || lxc_network
        [[ -n ${BOX:-} ]] || use_box
        ;;
    esac
    command -v vagrant >/dev/null || {
        say "Vagrant is missing: install it (Debian: vagrant) and do this again."
        exit 1
    }
    # Built here once, rather than in a guest.
    python3 -m scripts.backends provision kafka cassandra consul jaeger prometheus
    vagrant up
}

down() {
    local id
    for id in .vagrant/machines/*/lxc/id; do # at once, rather than one server after the other in order
        [[ ! -f $id ]] || lxc-stop --kill --name "$(cat "$id")" || true
    done
    vagrant destroy --force
    if [[ $(provider) == lxc ]]; then
        lxc_network_down
    fi
    rm -rf .vagrant
}

case ${1:-} in
up) up ;;
down) down ;;
box) use_box ;;
*)
    say "usage: $0 up | down | box"
    exit 2
    ;;
esac
