#!/bin/sh
# `vagrant up` runs this in each guest, as root. It turns an empty Debian into a node of the cluster.
set -eu
command -v python3 >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends python3 >/dev/null
}
cd /vagrant
PYTHONDONTWRITEBYTECODE=1 exec python3 -m scripts.cluster provision
