"""`cecochat deploy`: deploys every server set to Nomad, in order, and reverts what fails."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cecochat.cli import options
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, print_table

if TYPE_CHECKING:
    from cecochat.cli.cluster.nomad import Change, Jobs

ORDER = ("materialize", "history", "messaging", "connect", "hooks", "control")
"""What other servers need comes first."""
EDGE = "edge"
"""The edge comes before all of them, because servers tell clients to come through it."""


class Job(NamedTuple):
    """A job file with its values, parsed by Nomad, and what it would change."""

    service: str
    spec: dict[str, Any]
    change: Change
    before: int | None  # the version that runs now

    @property
    def id(self) -> str:
        """The id of the job in Nomad."""
        return str(self.spec["ID"])


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("deploy", epilog="Example: cecochat deploy --vars production.toml --plan")(deploy)


def deploy(
    vars_: Annotated[
        Path | None,
        typer.Option(
            "--vars",
            metavar="FILE",
            help="A TOML file with values for the jobs' variables. A table such as [messaging] is "
            "for that job alone, and [edge-job] for the edge, which is deployed if `edge` is set.",
        ),
    ] = None,
    jobs: Annotated[Path, typer.Option(help="The folder of the job files.")] = Path("jobs"),
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would change, and stop.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            help="Wait until each set is healthy before going on. If one is not, all of them go "
            "back to the version before."
        ),
    ] = True,
    settings: options.SettingsFile = None,
) -> None:
    """Deploy all server sets to Nomad, and print what changed.

    The edge is deployed, too, if one is wanted. CECOCHAT_NOMAD says where Nomad is; by default it
    is at 127.0.0.1:4646.
    """
    run(_deploy(jobs, _values(vars_), settings, only_plan=plan, wait=wait))


def _values(file: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text()) if file else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be used: {error}") from None


def wanted(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the jobs to deploy, in order."""
    return (EDGE, *ORDER) if values.get(EDGE) else ORDER


def table_of(service: str) -> str:
    """Return the table of values for one job. `edge` itself is a value that several jobs have."""
    return f"{EDGE}-job" if service == EDGE else service


def values_of(service: str, names: set[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the variables that a job declares.

    Raises `UsageError` if its table has a value that it does not declare.
    """
    own: Mapping[str, Any] = values.get(table_of(service), {})
    if unknown := own.keys() - names:
        raise UsageError(
            f"[{table_of(service)}] has {', '.join(sorted(unknown))}, which its job does not "
            f"declare: use {', '.join(sorted(names))}"
        )
    return {**{name: value for name, value in values.items() if name in names}, **own}


async def _deploy(
    folder: Path, values: Mapping[str, Any], file: Path | None, *, only_plan: bool, wait: bool
) -> None:
    from cecochat.cli.cluster.nomad import Jobs
    from cecochat.settings.settings import load

    async with aclosing(Jobs(load(file=file))) as nomad:
        planned = await _planned(nomad, folder, values)
        print_table([_line(job) for job in planned])
        changed = [job for job in planned if job.change.kind != "None"]
        if only_plan or not changed:
            echo("nothing was changed" if only_plan else "there is nothing to change")
            return
        done: list[Job] = []
        for planned_before in changed:
            job = await _with_plan(nomad, planned_before.service, planned_before.spec)
            await nomad.register(job.spec, job.change.job_index)
            done.append(job)
            if wait:
                await _until_healthy(nomad, job, done)
        echo(f"{len(done)} jobs deployed" + ("" if wait else "; see `nomad job status`"))


async def _planned(nomad: Jobs, folder: Path, values: Mapping[str, Any]) -> list[Job]:
    from cecochat.cli.cluster.nomad import declared

    texts = {service: _read(folder / f"{service}.nomad.hcl") for service in wanted(values)}
    names = {service: declared(text) for service, text in texts.items()}
    if unknown := values.keys() - set().union(*names.values()) - set(map(table_of, texts)):
        raise UsageError(f"no job declares {', '.join(sorted(unknown))}: leave it out")
    planned = []
    for service, text in texts.items():
        spec = await nomad.parse(text, values_of(service, names[service], values))
        planned.append(await _with_plan(nomad, service, spec))
    return planned


async def _with_plan(nomad: Jobs, service: str, spec: dict[str, Any]) -> Job:
    """Plan a job as of now. Control may scale a set at any time, and its number stays."""
    before = await nomad.running(spec["ID"])
    if before:
        spec["TaskGroups"][0]["Count"] = before["TaskGroups"][0]["Count"]
    return Job(service, spec, await nomad.plan(spec), before["Version"] if before else None)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        raise UsageError(f"there is no {file}: name the folder of the jobs with --jobs") from None


def _line(job: Job) -> tuple[str, str, str]:
    kinds = {"None": "as it is", "Added": "new", "Edited": "changed"}
    updates = ", ".join(f"{count} {name}" for name, count in job.change.updates.items())
    warning = f"; NOT ALL FIT: {job.change.unplaced}" if job.change.unplaced else ""
    return job.service, kinds.get(job.change.kind, job.change.kind), updates + warning


async def _until_healthy(nomad: Jobs, job: Job, done: list[Job]) -> None:
    """Wait until a job is healthy.

    Raises `Failed` after reverting everything if Nomad says that it is not healthy. Raises
    `Failed` without reverting anything if Nomad does not answer.
    """
    if not job.spec["TaskGroups"][0]["Count"]:
        echo(f"{job.service}: no server is wanted", err=True)
        return
    running = await nomad.running(job.id)
    version = int(running["Version"]) if running else 0
    echo(f"{job.service}: version {version} ...", err=True)
    healthy, said = await _outcome(nomad, job, version, done)
    if healthy:
        echo(f"{job.service}: version {version} is healthy", err=True)
        return
    back = await _reverted(nomad, done, but=job if "rolling back" in said.lower() else None)
    raise Failed(
        f"{job.service} did not become healthy: {said}. "
        + (f"Reverted to the version before: {', '.join(back)}. " if back else "")
        + f"To find out why, use `nomad job status {job.id}`, and `nomad alloc logs -stderr` of an "
        "allocation that failed"
    )


async def _outcome(nomad: Jobs, job: Job, version: int, done: list[Job]) -> tuple[bool, str]:
    """Return whether a version became healthy, and what Nomad says of it."""
    from cecochat.domain.errors import Unavailable

    try:
        if job.spec["Type"] == "system":
            return await nomad.runs_everywhere(job.id, version)
        return await nomad.rolled_out(job.id, version)
    except Unavailable as error:
        names = ", ".join(each.service for each in done)
        raise Failed(
            f"{error}. These were submitted, and not reverted: {names}. Deploy again to go on"
        ) from None


async def _reverted(nomad: Jobs, done: list[Job], but: Job | None) -> list[str]:
    """Go back to the versions before, and return whose; `but` is reverted by Nomad itself."""
    back = []
    for job in done:
        if job.before is not None and job is not but:
            await nomad.revert(job.id, job.before)
            back.append(job.service)
    return back
