#!/usr/bin/env bash
# Debian 12 as a box for lxc, on Debian, as root: scripts/cluster/box.sh FILE. scripts/cluster/host.sh calls it.
set -euo pipefail

# These are in the box, so that no guest has to fetch them. Other boxes get them when they are provisioned.
in_the_box=(ca-certificates dbus iproute2 iputils-ping netbase openjdk-17-jre-headless openssh-server postgresql procps
    python3-venv redis-server rsync sudo systemd systemd-sysv)

# The box is made from what this machine's apt trusts: its sources, its settings, its authorities.
make_rootfs() {
    local root=$1 mirror
    # shellcheck disable=SC2016 # apt's own variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' | head -1)
    debootstrap --variant=minbase --include="$(IFS=,; echo "${in_the_box[*]}")" bookworm "$root" "$mirror" >"$root.log" || {
        tail -5 "$root.log" >&2
        return 1
    }
    rm -f "$root/etc/apt/sources.list"
    if [[ -f /etc/apt/sources.list.d/debian.sources ]]; then
        cp /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/"
    else
        cp /etc/apt/sources.list "$root/etc/apt/"
    fi
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
    # This is Vagrant's well-known key, which it replaces at the first start.
    install --mode 600 "$(dpkg -L vagrant | grep 'keys/vagrant\.pub$')" "$home/.ssh/authorized_keys"
    chroot "$root" chown --recursive vagrant:vagrant /home/vagrant/.ssh
    echo 'vagrant ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/vagrant"
    chmod 440 "$root/etc/sudoers.d/vagrant"
    echo 'UseDNS no' >>"$root/etc/ssh/sshd_config"
}

prepare_system() {
    local root=$1 unit
    # Not ifupdown: setting the host's name would restart its interfaces, and wait for devices that a container lacks.
    printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n[DHCPv4]\nUseDNS=no\nClientIdentifier=mac\n' \
        >"$root/etc/systemd/network/eth0.network"
    chroot "$root" systemctl --quiet enable systemd-networkd
    chroot "$root" systemctl --quiet disable postgresql redis-server 2>/dev/null || true
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

file=$1
work=$(mktemp -d "$file.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
make_rootfs "$work/rootfs"
printf '%s\n' 'lxc.include = /usr/share/lxc/config/common.conf' 'lxc.arch = amd64' \
    'lxc.apparmor.profile = unconfined' 'lxc.tty.max = 1' 'lxc.pty.max = 1024' >"$work/lxc-config"
echo '{"provider":"lxc","version":"1.0.0"}' >"$work/metadata.json"
# --xattrs keeps ping's capability.
tar --create --numeric-owner --xattrs --xattrs-include='*' --directory "$work" ./rootfs | gzip -1 >"$work/rootfs.tar.gz"
tar --create --file "$work/box" --directory "$work" metadata.json lxc-config rootfs.tar.gz
mv "$work/box" "$file"
