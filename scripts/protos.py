"""Generate the code of `protos/` below `services/` and `clients/typescript/src/gen/`, and judge and
release changes of the contracts.

scripts/protos.py generate    write the generated code anew
scripts/protos.py release     take protos/ as it is for what later changes must not break
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
BASELINE = PROTOS / "baseline.binpb"
SOURCES = ROOT / "services"
PUBLIC = Path("cecochat/v1")  # what clients and the log hold
INTERNAL = Path("cecochat/internal/v1")  # what servers ask each other
PACKAGES = (PUBLIC, INTERNAL)

TYPESCRIPT = ROOT / "clients" / "typescript"
FOR_CLIENTS = ("attachments", "errors", "events", "history", "messaging", "reporting")

BIN = Path(sys.executable).parent


def generate(sources: Path) -> None:
    """Write the modules and stubs of every proto into its package in `sources`, and no others.

    Only a proto with a service gets a `_pb2_grpc` module. Raises CalledProcessError where protoc
    refuses a proto and has said why.
    """
    for package in PACKAGES:
        (sources / package).mkdir(parents=True, exist_ok=True)
        for old in (sources / package).glob("*_pb2*"):
            old.unlink()
    protos = sorted(proto for package in PACKAGES for proto in (PROTOS / package).glob("*.proto"))
    _protoc(protos, f"--python_out={sources}", f"--mypy_out=quiet:{sources}")
    with_services = [proto for proto in protos if re.search(r"^service ", proto.read_text(), re.M)]
    _protoc(with_services, f"--grpc_python_out={sources}", f"--mypy_grpc_out=quiet:{sources}")


def descriptors(path: Path) -> bytes:
    """Write the descriptors of all public protos, with their comments, and return them."""
    protos = sorted((PROTOS / PUBLIC).glob("*.proto"))
    _protoc(protos, f"--descriptor_set_out={path}", "--include_source_info")
    return path.read_bytes()


def generate_typescript(sources: Path) -> None:
    """Write what the TypeScript client needs into `sources`. Its npm packages must be installed."""
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    protos = [PROTOS / PUBLIC / f"{name}.proto" for name in FOR_CLIENTS]
    outputs = [f"--{name}_out={sources}" for name in ("es", "schemas")]
    options = [f"--{name}_opt=target=ts,import_extension=js" for name in ("es", "schemas")]
    _protoc(protos, *outputs, *options)


def _protoc(protos: list[Path], *outputs: str) -> None:
    names = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    plugins = [BIN / name for name in names]
    plugins.append(TYPESCRIPT / "node_modules/.bin/protoc-gen-es")
    plugins.append(TYPESCRIPT / "protoc-gen-schemas.js")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"]
    subprocess.run(
        [*command, *(f"--plugin={plugin.stem}={plugin}" for plugin in plugins), *outputs, *protos],
        check=True,
    )


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run buf, which needs no network. Its return code is 100 if it finds something to report."""
    return subprocess.run([BIN / "buf", *arguments], text=True, capture_output=True, check=False)


def release() -> None:
    """Write the baseline that `buf breaking` compares with."""
    built = buf("build", PROTOS, "--exclude-source-info", "--output", BASELINE)
    if built.returncode:
        sys.exit(built.stdout + built.stderr)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate"]:
            generate(SOURCES)
            if (TYPESCRIPT / "node_modules").exists():
                generate_typescript(TYPESCRIPT / "src" / "gen")
            else:
                print("The TypeScript client is left as it is: run `make client` first.")
        case ["release"]:
            release()
        case _:
            sys.exit(__doc__)
