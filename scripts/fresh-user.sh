#!/bin/sh
# Runs what a new user types, without a terminal: README's two commands, and the two that `make up` prints.
set -eu
cd "$HOME/my chat"

make up >"$HOME/up.log" 2>&1 &
up=$!
waited_s=0
until grep --quiet "chat --as alice bob" "$HOME/up.log"; do
    if [ "$waited_s" = 600 ] || ! kill -0 "$up" 2>/dev/null; then
        echo "make up did not start:" >&2
        cat "$HOME/up.log" >&2
        exit 1
    fi
    sleep 1
    waited_s=$((waited_s + 1))
done
cat "$HOME/up.log"
echo "make up: ready to chat after $waited_s s"

echo "See you at eight?" | .venv/bin/cecochat chat --as alice bob
.venv/bin/cecochat history --as bob alice | grep "alice  See you at eight?"
kill -TERM "$up"  # a script's background jobs ignore Ctrl-C
wait "$up" || true

make test
