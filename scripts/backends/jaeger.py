"""Jaeger: collector and query in one process, traces in memory."""

from __future__ import annotations

from scripts.backends import modules, probe, store, versions
from scripts.backends.instance import Command, Instance, Kind

PACKAGE = "github.com/jaegertracing/jaeger/cmd/all-in-one"
TRACES = 10_000  # how many traces are kept


def program() -> str:
    return str(modules.bring("jaeger", versions.JAEGER, PACKAGE))


def here() -> bool:
    return store.place("jaeger", versions.JAEGER).exists()


def command(instance: Instance) -> Command:
    instance.folder.mkdir(parents=True, exist_ok=True)
    listens = {
        "query.http-server.host-port": "query",
        "query.grpc-server.host-port": "query-grpc",
        "collector.otlp.grpc.host-port": "otlp-grpc",
        "collector.otlp.http.host-port": "otlp-http",
        "collector.grpc-server.host-port": "collector-grpc",
        "collector.http-server.host-port": "collector-http",
        "admin.http.host-port": "admin",
    }
    argv = [program(), f"--memory.max-traces={TRACES}", "--collector.otlp.enabled=true"]
    argv += [f"--{flag}={instance.at(role)}" for flag, role in listens.items()]
    return Command(argv, {"SPAN_STORAGE_TYPE": "memory"})


KIND = Kind(
    name="jaeger",
    version=versions.JAEGER,
    ports={
        "query": 17686,
        "otlp-grpc": 17317,
        "otlp-http": 17318,
        "query-grpc": 17687,
        "collector-grpc": 17319,
        "collector-http": 17320,
        "admin": 17321,
    },
    provision=program,
    here=here,
    command=command,
    variable=None,
    answers=probe.jaeger,
)
