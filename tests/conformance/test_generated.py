"""The generated cases are those that the simulator makes today."""

from __future__ import annotations

from tests.conformance.case import KIT
from tests.conformance.generated import FEATURES, generated
from tests.conformance.writing import written


def test_the_files_are_what_the_simulator_makes() -> None:
    files = {path.stem: path.read_text() for path in (KIT / "generated").glob("*.json")}
    assert files == {name: f"{written(case)}\n" for name, case in generated().items()}, (
        "run `make conformance`"
    )


def test_the_files_show_all_that_is_worth_showing() -> None:
    told = "".join(path.read_text() for path in (KIT / "generated").glob("*.json"))
    assert [each.about for each in FEATURES.values() if each.about not in told] == []
