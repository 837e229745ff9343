"""A missing backend is skipped where it may be, fails where it is required; a typo is refused."""

from __future__ import annotations

import pytest

from tests.support.backends import VARIABLE, Backends


@pytest.mark.parametrize(
    ("value", "required"),
    [
        ("", set()),
        ("kafka", {"kafka"}),
        (" kafka, redis,", {"kafka", "redis"}),
    ],
)
def test_the_variable_names_what_is_required(value: str, required: set[str]) -> None:
    assert Backends.parse({VARIABLE: value}).required == required


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="kafak"):
        Backends.parse({VARIABLE: "kafak,redis"})


def test_a_missing_backend_skips() -> None:
    with pytest.raises(pytest.skip.Exception, match="kafka is missing: run `make"):
        Backends(frozenset()).absent("kafka")


def test_a_missing_backend_that_is_required_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"kafka is required .*: run `make"):
        Backends(frozenset({"kafka"})).absent("kafka")
