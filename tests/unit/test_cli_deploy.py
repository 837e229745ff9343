"""What `cecochat deploy` makes of a file of values."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from cecochat.cli.cluster.deploy import ORDER, values_of, wanted
from cecochat.cli.cluster.nomad import Jobs, _is_as_it_was, _literal, declared
from cecochat.cli.errors import UsageError
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.settings.settings import load

JOBS = Path(__file__).parents[2] / "jobs"


def test_there_is_a_job_for_each_server_type_and_the_edge() -> None:
    names = {file.name.partition(".")[0] for file in JOBS.glob("*.nomad.hcl")}
    assert names == {*ORDER, "edge"}


@pytest.mark.parametrize("service", ORDER)
def test_every_job_declares_what_a_cluster_differs_in(service: str) -> None:
    names = declared((JOBS / f"{service}.nomad.hcl").read_text())
    common = {"count", "version", "driver", "command", "user", "image", "datacenters", "settings"}
    assert names >= common | {"consul", "kafka", "cassandra", "redis", "cpu", "memory"}


def test_a_job_gets_what_it_declares_and_its_own_table_last() -> None:
    values = {"kafka": "k:1", "port": 1, "memory": 100, "messaging": {"memory": 200}}
    names = {"kafka", "memory"}
    assert values_of("messaging", names, values) == {"kafka": "k:1", "memory": 200}
    assert values_of("history", names, values) == {"kafka": "k:1", "memory": 100}


def test_what_nomad_fills_in_at_a_start_is_no_template_of_the_file() -> None:
    values = {"HOST": "${NOMAD_IP_health}", "SHARE": "7%{x}", "COST": "$5"}
    assert _literal(values) == '{"HOST": "$${NOMAD_IP_health}", "SHARE": "7%%{x}", "COST": "$5"}'


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("No cluster leader", Unavailable),
        ("leadership lost while committing log", Unavailable),
        ("1 error occurred: Only one task may be marked as leader", InvalidSettings),
    ],
)
async def test_a_nomad_without_a_leader_is_no_wrong_job(said: str, error: type[Exception]) -> None:
    """It answers both with 500."""
    jobs = Jobs(load({}))
    await jobs.aclose()
    answers = httpx.MockTransport(lambda _: httpx.Response(500, text=said))
    jobs._client = httpx.AsyncClient(transport=answers, base_url="http://nomad")
    with pytest.raises(error, match=said):
        await jobs.register({"ID": "cecochat-history"}, 0)
    await jobs.aclose()


def test_an_edge_is_deployed_first_and_where_one_is_wanted() -> None:
    assert wanted({"edge": "${meta.public_host}"}) == ("edge", *ORDER)
    assert wanted({"edge": ""}) == wanted({}) == ORDER
    values = {"edge": "chat", "edge-job": {"memory": 64}}
    assert values_of("edge", {"edge", "memory"}, values) == {"edge": "chat", "memory": 64}
    assert values_of("history", {"edge", "memory"}, values) == {"edge": "chat"}
    with pytest.raises(UsageError, match=r"\[edge-job\] has size"):
        values_of("edge", {"edge"}, {"edge": "chat", "edge-job": {"size": 1}})


def test_a_table_with_a_variable_that_is_none_is_named() -> None:
    wrong = r"\[messaging\] has memroy, which its job does not declare: use memory"
    with pytest.raises(UsageError, match=wrong):
        values_of("messaging", {"memory"}, {"messaging": {"memroy": 1}})


SCALING = {"Name": "Scaling", "Type": "Edited", "Fields": None}


@pytest.mark.parametrize(
    ("groups", "same"),
    [
        ([{"Type": "Edited", "Fields": None, "Objects": [SCALING], "Tasks": None}], True),
        ([{"Type": "Edited", "Fields": [{"Name": "Count"}], "Objects": [SCALING]}], False),
        ([{"Type": "Edited", "Objects": [{**SCALING, "Fields": [{"Name": "Max"}]}]}], False),
        ([{"Type": "Edited", "Objects": [{**SCALING, "Name": "Update"}]}], False),
        ([{"Type": "Edited", "Objects": [SCALING], "Tasks": [{"Type": "Edited"}]}], False),
    ],
    ids=["scaling alone", "count", "its limits", "another block", "the task"],
)
def test_what_nomad_calls_edited_without_a_change_is_none(
    groups: list[dict[str, object]], same: bool
) -> None:
    assert _is_as_it_was({"Type": "Edited", "TaskGroups": groups}) is same
    assert _is_as_it_was({"Type": "None"})
    assert not _is_as_it_was({"Type": "Added"})
