#!/bin/sh
# Copies what the image holds into the folder ROOT: Python, the program in /opt/cecochat, and the libraries that they
# load. No shell and no package manager come along. The Dockerfile runs it:
#
#   image-root.sh ROOT
set -eu
root=$1
python=$(realpath "$(command -v python)")
modules=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
authorities=$(/opt/cecochat/bin/python -m certifi)

# Python writes what it compiles as it imports. To compile all that is installed would take 22 MB more.
compile_what_is_imported() {
    /opt/cecochat/bin/python -c 'import importlib, pkgutil, cecochat
for module in pkgutil.walk_packages(cecochat.__path__, "cecochat."):
    if module.name != "cecochat.__main__": # which is a program
        importlib.import_module(module.name)'
}

# What follows the segments that are loaded is for debuggers: names, and the source line of each address.
cut_symbols() {
    find "$root/opt/cecochat" -type f -name '*.so*' -exec python -c 'import struct, sys
for path in sys.argv[1:]:
    with open(path, "r+b") as file:
        content = bytearray(file.read())
        if content[:6] != b"\x7fELF\x02\x01": # 64 bits, little-endian
            continue
        (at,), (size, count) = struct.unpack_from("<Q", content, 32), struct.unpack_from("<HH", content, 54)
        segments = [struct.unpack_from("<8xQ16xQ", content, at + each * size) for each in range(count)]
        struct.pack_into("<Q", content, 40, 0) # there is no table of sections any more
        struct.pack_into("<HH", content, 60, 0, 0)
        file.seek(0)
        file.write(content)
        file.truncate(max(offset + length for offset, length in segments))' {} +
}

cd / # what cp --parents takes its paths from
take() { cp --archive --parents "$@" "$root"; }

# What the loader finds for the files that standard input names.
libraries() { xargs ldd 2>/dev/null | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | sort -u; }

compile_what_is_imported
mkdir -p "$root/etc/ssl/certs" "$root/tmp"
chmod 1777 "$root/tmp"
take "${python%/*}"/python* "$modules" /opt/cecochat /etc/ld.so.conf /etc/ld.so.conf.d
(
    cd "$root$modules"
    rm -rf ensurepip idlelib lib2to3 pydoc_data site-packages test tkinter turtledemo
)
# What only type checkers and compilers read.
find "$root/opt/cecochat" -type f \( -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ch]' \) -exec rm {} +
cut_symbols
{
    echo "$python"
    find "$modules" /opt/cecochat -name '*.so*' -type f
} | libraries | xargs cp --dereference --parents --target-directory "$root"
ldconfig -r "$root"

# The names of time zones, for those who chat in the container.
[ ! -d /usr/share/zoneinfo ] || take /usr/share/zoneinfo
rm -rf "$root/usr/share/zoneinfo/right" # the same, counted with leap seconds
# The authorities are those of the lock, whatever the base trusts.
cp "$authorities" "$root/etc/ssl/certs/ca-certificates.crt"
printf '%s\n' root:x:0:0:root:/:/sbin/nologin cecochat:x:10001:10001:cecochat:/data:/sbin/nologin >"$root/etc/passwd"
printf '%s\n' root:x:0: cecochat:x:10001: >"$root/etc/group"
