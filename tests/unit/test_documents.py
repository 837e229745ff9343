"""The central documents, as people and programs write them: the configuration, the assignment."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.cluster import assignment, configuration, values
from cecochat.domain.cluster.configuration import KEYS, Config
from cecochat.domain.cluster.limits import APP_KEYS
from cecochat.domain.errors import InvalidSettings

# -- the configuration


@st.composite
def good_documents(draw: st.DrawFn) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(sorted(KEYS)))):
        _, key, default = KEYS[name]
        if name == "web.origins":
            document[name] = draw(st.sampled_from(["", "https://a.example, http://b.example:81"]))
        elif name == "attachments.types":
            document[name] = draw(st.sampled_from(["", "*", "image/*, application/pdf"]))
        elif isinstance(default, str):
            document[name] = draw(st.sampled_from(configuration.LOG_LEVELS))
        elif isinstance(default, bool):
            document[name] = draw(st.booleans())
        elif isinstance(default, int):
            document[name] = draw(st.integers(int(key.low), int(key.high)))
        else:
            document[name] = draw(st.floats(key.low, key.high))
    return document


@given(good_documents())
def test_a_good_document_is_what_it_says(document: dict[str, Any]) -> None:
    config = values.parse(document)
    for name, (attribute, _, default) in KEYS.items():
        value = getattr(config, attribute)
        assert value == document.get(name, default)
        assert type(value) is type(default)


def test_an_empty_document_is_the_defaults() -> None:
    assert values.parse({}) == Config()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
)


@given(st.one_of(ANYTHING, st.dictionaries(st.sampled_from(sorted(KEYS)), ANYTHING)))
def test_any_other_document_is_refused(document: Any) -> None:
    try:
        config = values.parse(document)
    except InvalidSettings:
        pass
    else:
        assert all(name in KEYS for name in document)
        for name, value in document.items():
            assert getattr(config, KEYS[name][0]) == value


@given(good_documents())
def test_what_a_person_types_is_the_value(document: dict[str, Any]) -> None:
    for name, value in document.items():
        assert values.from_text(name, str(value)) == value


@pytest.mark.parametrize("text", ["", "x", "1e400", "nan", "1_0x", "-1", "0x10", "1.5"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings):
        values.from_text("sessions.max_per_user", text)


# -- apps


@given(good_documents(), good_documents())
def test_an_app_has_its_own_limits_and_else_those_of_all(
    of_all: dict[str, Any], own: dict[str, Any]
) -> None:
    own = {name: value for name, value in own.items() if name in APP_KEYS}
    config = values.parse(of_all | {f"app.shop.{name}": value for name, value in own.items()})
    without = values.parse(of_all)
    for id_ in ("shop/alice", "d:shop/alice~shop/bob", "g:shop/team"):
        assert replace(config.of(id_), apps={}) == values.parse(of_all | own)
    for id_ in ("alice", "news/alice", "d:alice~bob", "g:team", "g:news/team", "shop"):
        assert replace(config.of(id_), apps={}) == without


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("app.shop.text.max_byte", 5, "use app.shop.text.max_bytes"),
        ("app.shop.text.max_bytes", 0, "app.shop.text.max_bytes is 0: use 1 to 32768 bytes"),
        ("app.shop.text.max_bytes", "5", "use a whole number"),
        ("app.shop.attachments.types", "x", "attachments.types"),
        ("app.shop.log.level", "debug", "log.level cannot be set for an app"),
        ("app.Shop.text.max_bytes", 5, "'Shop' is no name of an app"),
        ("app.text.max_bytes", 5, "is no configuration key"),
        ("app.shop", 5, "is no configuration key"),
        ("app.", 5, "is no name of an app"),
        ("shop.text.max_bytes", 5, "use text.max_bytes"),
    ],
)
def test_a_wrong_key_of_an_app_is_refused(name: str, value: Any, why: str) -> None:
    with pytest.raises(InvalidSettings, match=re.escape(why)):
        values.parse({name: value})


def test_what_a_person_types_for_an_app_is_the_value() -> None:
    assert values.from_text("app.shop.text.max_bytes", "5") == 5
    assert values.from_text("app.shop.sends.rate_per_user", "5") == 5.0


# -- the assignment


@given(st.integers(1, 64), st.data())
def test_an_assignment_names_owners(partitions: int, data: st.DataObject) -> None:
    owners = data.draw(st.dictionaries(st.integers(0, partitions - 1), st.text()))
    document = {str(partition): owner for partition, owner in owners.items()}
    assert assignment.parse(document, partitions) == owners


@given(st.one_of(ANYTHING, st.dictionaries(st.text(max_size=3), ANYTHING)))
def test_any_other_assignment_is_refused(document: Any) -> None:
    try:
        owners = assignment.parse(document, 4)
    except InvalidSettings:
        pass
    else:
        assert {str(partition): owner for partition, owner in owners.items()} == document
