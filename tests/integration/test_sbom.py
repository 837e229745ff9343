"""`make sbom` lists what an installation is made of, no more and no less."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_it_lists_the_packages_of_the_lock_by_their_hashes() -> None:
    make = await asyncio.create_subprocess_exec("make", "sbom", cwd=ROOT)
    assert await make.wait() == 0
    bill = json.loads((ROOT / "build" / "cecochat.cdx.json").read_text())
    lock = (ROOT / "requirements.lock").read_text()
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "cecochat"
    found = {each["name"]: each["version"] for each in bill["components"]}
    assert found == dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock, re.M))
    assert "hatchling" not in found, "what builds is no part of what runs"
    for each in bill["components"]:
        hashes = [one["content"] for of in each["externalReferences"] for one in of["hashes"]]
        assert hashes
        assert all(f"--hash=sha256:{content}" in lock for content in hashes)
