#!/usr/bin/env bash
# `vagrant up` ends with this on the host: it waits until the cluster is whole, sends a message on one guest and reads it
# on another.
set -euo pipefail
nodes=$1 how=${2:-open}
guest() {
    local name=$1
    shift
    vagrant ssh "$name" --no-tty --command "$*" </dev/null 2>&1 | sed --unbuffered 's/\r$//; /^$/d'
}

# Report a guest that did not start now. Vagrant only says so at its end, and the cluster would wait for it.
stopped() { vagrant status --machine-readable | awk -F, '$3 == "state" && $4 != "running" { print $2 }' | xargs; }
until missing=$(stopped) && [[ ! $missing ]]; do
    ((SECONDS < 60)) || { # since this script began
        echo "These guests do not run: ${missing:-(vagrant status fails)}. Vagrant says why at its end. Then run: make cluster-up" >&2
        exit 1
    }
    sleep 3
done

guest "server$nodes" "cd /opt/cecochat/checkout && sudo PYTHONDONTWRITEBYTECODE=1 python3 -m scripts.cluster ready $nodes"
reader=server$((nodes > 1 ? 2 : 1))
text="Sent on server1 at $(date +%H:%M:%S)."
guest server1 "cecochat send --as alice bob '$text'"
tries=0
until guest "$reader" "cecochat history --as bob alice" | grep --fixed-strings "$text"; do
    ((++tries < 10)) || {
        echo "The message is not in the history that $reader reads." >&2
        exit 1
    }
    sleep 1
done
echo "... read on $reader."

address=192.168.56.11
consul=http://$address:8500 nomad=http://$address:4646
if [[ $how == secure ]]; then
    consul="https://$address:8505 (for who has a certificate: docs/how-to/secure-a-test-cluster.md)"
    nomad="https://$address:4646 (the same)"
fi
cat <<TEXT

The cluster of $nodes is up. On this machine:
  connect     http://$address:8080
  Consul      $consul
  Nomad       $nomad
  Jaeger      http://$address:16686
  Prometheus  http://$address:9090
VirtualBox, libvirt and docker forward these ports to 127.0.0.1; Vagrant has said where another was taken. A chat across machines:
  vagrant ssh server1 -c "cecochat chat --as alice bob"
  vagrant ssh $reader -c "cecochat chat --as bob alice"
TEXT
guest "server$nodes" "cat /etc/cecochat/note 2>/dev/null || true"
