"""Cassandra: one node that is its own seed, or one of several."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.backends import jars, probe, store, tools, versions
from scripts.backends.instance import Command, Instance, Kind

OPTIONS = {
    "heap": "Java heap, as in 1g (the default)",
    "mutation": "the largest write that it takes, as in 16MiB (the default)",
    "nodes": "addresses of all of several, with commas (default: this one alone)",
}
TOKENS = 4  # for each node
DESCRIPTOR_BYTES = 16  # the least that a segment of the commit log has
RING_DELAY_MS = 10_000  # how long one of several nodes waits to hear of the others

# The parts of Java 17 that Cassandra 5.0 needs to be open, from its conf/jvm17-server.options.
EXPORTS = """
java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi
java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql java.base/java.lang.ref
jdk.unsupported/sun.misc jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach
""".split()
OPENS = """
java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref
java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module
java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal java.base/sun.nio.ch
java.base/java.io java.base/java.lang.reflect jdk.compiler/com.sun.tools.javac
java.base/java.lang java.base/java.util
""".split()

JVM = """
-ea -da:net.openhft... -Xss256k -XX:+UseG1GC -XX:+ParallelRefProcEnabled -XX:MaxGCPauseMillis=300
-XX:+HeapDumpOnOutOfMemoryError -XX:+ExitOnOutOfMemoryError -XX:+PerfDisableSharedMem
-Djava.net.preferIPv4Stack=true -Djdk.attach.allowAttachSelf=true
-Dio.netty.tryReflectionSetAccessible=true -Dio.netty.allocator.useCacheForAllThreads=true
-Dio.netty.allocator.maxOrder=11 -Dsun.nio.PageAlignDirectMemory=true
-Dcassandra.skip_wait_for_gossip_to_settle=0
-Dcassandra.superuser_setup_delay_ms=0
""".split()

LOGBACK = """\
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date{ISO8601} %level %msg \\(%logger{0}\\)%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"""


def installed() -> Path | None:
    return jars.installed("cassandra", "lib", "apache-cassandra-5.0.*.jar")


def here() -> bool:
    return bool(installed()) or store.place("cassandra", versions.CASSANDRA).exists()


def libs() -> Path:
    properties = {"cassandra.version": versions.CASSANDRA}
    return installed() or jars.bring("cassandra", versions.CASSANDRA, properties)


def provision() -> str:
    tools.java()
    return str(libs())


def command(instance: Instance) -> Command:
    instance.data.mkdir(parents=True, exist_ok=True)
    _drop_segments_without_a_head(instance.data / "commitlog")
    joining = _joining(instance)
    configuration = instance.folder / "cassandra.yaml"
    configuration.write_text(json.dumps(settings(instance, joining), indent=2))  # JSON is YAML
    logback = instance.folder / "logback.xml"
    logback.write_text(LOGBACK)
    folder = libs()
    heap = instance.options.get("heap", "1g")
    (agent,) = folder.glob("jamm-*.jar")
    argv = [tools.java(), f"-Xms{heap}", f"-Xmx{heap}", f"-javaagent:{agent}", *JVM]
    argv += [f"-XX:HeapDumpPath={instance.folder}", f"-XX:ErrorFile={instance.folder}/hs_err.log"]
    argv += _ring(instance, joining)
    argv += [f"--add-exports={package}=ALL-UNNAMED" for package in EXPORTS]
    argv += [f"--add-opens={package}=ALL-UNNAMED" for package in OPENS]
    argv += [
        f"-Dcassandra.config={configuration.as_uri()}",
        f"-Dcassandra.storagedir={instance.data}",
        f"-Dlogback.configurationFile={logback.as_uri()}",
        "-Dcassandra-foreground=yes",
    ]
    main = "org.apache.cassandra.service.CassandraDaemon"
    return Command([*argv, "-cp", f"{folder}/*", main])


def _drop_segments_without_a_head(commitlog: Path) -> None:
    """Delete segments of the commit log that do not even have a descriptor.

    A full disk leaves them. Nothing in them was synced, and Cassandra does not start with one,
    unless it is the last.
    """
    for segment in commitlog.glob("CommitLog-*.log"):
        with segment.open("rb") as file:
            unwritten = not any(file.read(DESCRIPTOR_BYTES))
        if unwritten:
            segment.unlink()


def _nodes(instance: Instance) -> list[str]:
    """Return the addresses of seeds. If the node is alone, that is its own."""
    return instance.options.get("nodes", instance.host).split(",")


def _joining(instance: Instance) -> frozenset[str] | None:
    """Return the ring that was there when this node first started, and so had to join it.

    It is None if there was none. It counts until the node has joined, which may take several
    starts.
    """
    noted = instance.data / "joining.json"
    if not noted.exists():
        found = _ring_that_is_there(instance)
        noted.write_text(json.dumps(found and sorted(found)))
    found = json.loads(noted.read_text())
    return None if found is None else frozenset(found)


def _ring_that_is_there(instance: Instance) -> frozenset[str] | None:
    others = (node for node in _nodes(instance) if node != instance.host)
    rings = (probe.cassandra_peers(node, instance.port) for node in others)
    return next((ring for ring in rings if ring is not None), None)


def _ring(instance: Instance, joining: frozenset[str] | None) -> list[str]:
    """Return what the Java program is told about the other nodes."""
    delay = RING_DELAY_MS if len(_nodes(instance)) > 1 else 0
    argv = [f"-Dcassandra.ring_delay_ms={delay}"]
    if joining is not None:
        argv.append("-Dcassandra.consistent.rangemovement=false")  # several may join at once
    if joining is not None and instance.host in joining:
        # A machine that has lost its disk takes its old place, and fetches the data that it held.
        argv.append(f"-Dcassandra.replace_address_first_boot={instance.host}")
    return argv


def _tokens(instance: Instance) -> str:
    """Return the tokens of this node, so that all nodes have equal parts of the ring."""
    nodes = _nodes(instance)
    width, at = 2**64 // (TOKENS * len(nodes)), nodes.index(instance.host)
    return ",".join(str(width * (at + len(nodes) * turn) - 2**63) for turn in range(TOKENS))


def settings(instance: Instance, joining: frozenset[str] | None = None) -> dict[str, object]:
    """Return cassandra.yaml. Folders follow from `cassandra.storagedir`; the rest is default."""
    seeds = [node for node in _nodes(instance) if joining is None or node != instance.host]
    storage = ",".join(f"{node}:{instance.ports['storage']}" for node in seeds)
    takes_over = joining is not None and instance.host in joining
    return {
        "cluster_name": "cecochat",
        "num_tokens": TOKENS,
        **({} if takes_over else {"initial_token": _tokens(instance)}),
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "SimpleSnitch",
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": storage}],
            }
        ],
        "auto_bootstrap": joining is not None,
        "listen_address": instance.host,
        "storage_port": instance.ports["storage"],
        "rpc_address": instance.host,
        "native_transport_port": instance.port,
        # A write is acknowledged once it is on disk. ADR 30 says what `periodic` would lose.
        "commitlog_sync": "batch",
        # It ends, so that a supervisor notices, instead of going on with a disk that fails.
        "disk_failure_policy": "die",
        "commit_failure_policy": "die",
        "commitlog_total_space": "512MiB",
        "max_mutation_size": instance.options.get("mutation", "16MiB"),
        "auto_snapshot": False,  # so that a keyspace that a test drops leaves nothing
        "user_defined_functions_enabled": False,
        "max_hint_window": "10m",
        "max_hints_file_size": "8MiB",
        "memtable_heap_space": "128MiB",
        "memtable_offheap_space": "128MiB",
        "file_cache_size": "64MiB",
        "networking_cache_size": "32MiB",
        "key_cache_size": "16MiB",
        "concurrent_reads": 16,
        "concurrent_writes": 32,
        "concurrent_compactors": 1,
        "compaction_throughput": "32MiB/s",
        "cdc_enabled": False,
    }


KIND = Kind(
    name="cassandra",
    version=versions.CASSANDRA,
    ports={"clients": 17042, "storage": 17043},
    provision=provision,
    here=here,
    command=command,
    variable="CECOCHAT_CASSANDRA",
    answers=probe.cassandra,
    options=OPTIONS,
    start_s=180,
    stop_s=60,
)
