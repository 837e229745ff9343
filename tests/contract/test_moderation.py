"""The contract of `ports.moderation`, on every adapter."""

from __future__ import annotations

import asyncio

import pytest

from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.acts import Act, act_id
from cecochat.domain.moderation.reports import (
    Report,
    State,
    Target,
    act_of,
    decided,
    report_id,
    taken,
)
from cecochat.ports.moderation import Block, Blockers, Forgotten, Moderation, Paged
from tests.contract.conftest import OpenModeration

ALICE, BOB, EVE = UserId("alice"), UserId("bob"), UserId("eve")
BUCKET_MS = 40 * 24 * 3_600_000  # longer than what a store keeps together
NOW_MS = 1_790_000_000_000


def report_of(number: int, at_ms: int = NOW_MS, reporter: UserId = ALICE) -> Report:
    target = Target(EVE, "d:alice~eve", 1_000 + number)
    id_ = report_id(reporter, target)
    return Report(id_, reporter, target, "spam", b"text %d" % number, at_ms)


async def ids(moderation: Moderation, state: State, after: str = "", limit: int = 100) -> list[str]:
    page = await moderation.reports.page(state, after=after, limit=limit)
    return [each.id for each in page.items]


async def acts(moderation: Moderation) -> list[Act]:
    return (await moderation.acts.page(before="", limit=100)).items


async def test_a_report_is_there_once(
    moderation: Moderation, open_moderation: OpenModeration
) -> None:
    first, again = report_of(1), report_of(1, NOW_MS + 5)._replace(reason="other")
    assert await moderation.reports.get(first.id) is None
    assert await moderation.reports.put(first) == first
    assert await moderation.reports.put(again) == first
    assert await ids(moderation, "open") == [first.id]
    await moderation.close()
    assert await (await open_moderation()).reports.get(first.id) == first


async def test_of_the_same_report_at_once_one_stands(
    moderation: Moderation, open_moderation: OpenModeration
) -> None:
    stores = [moderation, await open_moderation()]
    stand = await asyncio.gather(
        *(stores[n % 2].reports.put(report_of(1, NOW_MS + n)) for n in range(8))
    )
    assert len(set(stand)) == 1
    assert await ids(moderation, "open") == [stand[0].id]


async def test_a_report_goes_from_state_to_state(moderation: Moderation) -> None:
    opened = await moderation.reports.put(report_of(1))
    mine = taken(opened, "mia", "desk", NOW_MS + 10)
    assert await moderation.reports.change(mine) == mine
    assert await moderation.reports.change(taken(opened, "mo", "desk", NOW_MS + 11)) == mine
    assert (await ids(moderation, "open"), await ids(moderation, "taken")) == ([], [opened.id])
    done = decided(mine, "mia", "desk", NOW_MS + 20, "dismissed", "no spam")
    assert await moderation.reports.change(done) == done
    assert await ids(moderation, "taken") == []
    assert (await moderation.reports.page("done", after="", limit=5)).items == [done]
    assert await acts(moderation) == [act_of(done), act_of(mine)]
    assert await moderation.reports.change(report_of(2)._replace(version=1)) is None


async def test_of_moderators_who_take_at_once_one_has_it(
    moderation: Moderation, open_moderation: OpenModeration
) -> None:
    stores = [moderation, await open_moderation()]
    opened = await moderation.reports.put(report_of(1))
    stand = await asyncio.gather(
        *(
            stores[n % 2].reports.change(taken(opened, f"m{n}", "desk", NOW_MS + n))
            for n in range(6)
        )
    )
    assert len(set(stand)) == 1
    assert [act.by for act in await acts(moderation)] == [stand[0].moderator if stand[0] else ""]


async def test_pages_of_reports_are_in_the_order_of_their_times(moderation: Moderation) -> None:
    times = [NOW_MS + 5, NOW_MS, NOW_MS + 2 * BUCKET_MS, NOW_MS + BUCKET_MS, NOW_MS - BUCKET_MS]
    reports = [report_of(n, at_ms) for n, at_ms in enumerate(times)]
    await asyncio.gather(*map(moderation.reports.put, reports))
    await moderation.reports.change(taken(reports[3], "mia", "desk", NOW_MS))
    in_order = [reports[n].id for n in (4, 1, 0, 2)]
    assert await moderation.reports.page("open", after="", limit=2) == Paged(
        [reports[4], reports[1]], has_more=True
    )
    rest = await moderation.reports.page("open", after=reports[1].id, limit=2)
    assert rest == Paged([reports[0], reports[2]], has_more=False)
    assert await ids(moderation, "open", "unknown") == in_order
    assert await ids(moderation, "open", reports[3].id) == [reports[2].id]


async def test_long_queues_are_read_to_their_end(moderation: Moderation) -> None:
    reports = [report_of(n, NOW_MS + n // 2) for n in range(205)]
    await asyncio.gather(*map(moderation.reports.put, reports))
    found: list[str] = []
    has_more = True
    while has_more:
        after = found[-1] if found else ""
        page, has_more = await moderation.reports.page("open", after=after, limit=60)
        found += [each.id for each in page]
    assert found == [each.id for each in sorted(reports, key=lambda each: (each.at_ms, each.id))]


async def test_acts_are_listed_newest_first(moderation: Moderation) -> None:
    times = [NOW_MS, NOW_MS + 1, NOW_MS - BUCKET_MS, NOW_MS + BUCKET_MS]
    lines = [
        Act(act_id(at_ms, str(n)), at_ms, "mia", "desk", "ban", "1d", "spam", EVE, "g:a", n, "")
        for n, at_ms in enumerate(times)
    ]
    for line in (*lines, *lines):
        await moderation.acts.append(line)
    newest = [lines[n] for n in (3, 1, 0, 2)]
    assert await moderation.acts.page(before="", limit=2) == Paged(newest[:2], has_more=True)
    assert await moderation.acts.page(before=lines[1].id, limit=2) == Paged(
        newest[2:], has_more=False
    )


async def test_blocks_are_found_from_both_sides(
    moderation: Moderation, open_moderation: OpenModeration
) -> None:
    blocks = moderation.blocks
    wanted = [Block(ALICE, EVE, 1), Block(BOB, EVE, 2), Block(ALICE, BOB, 3)]
    await asyncio.gather(*map(blocks.put, wanted))
    await blocks.put(wanted[0])
    assert await blocks.of(ALICE, after="", limit=1) == Paged([wanted[2]], has_more=True)
    assert await blocks.of(ALICE, after=BOB, limit=1) == Paged([wanted[0]], has_more=False)
    assert await blocks.blockers_of(EVE) == Blockers(frozenset({ALICE, BOB}), is_all=True)
    assert await blocks.has(ALICE, EVE)
    await blocks.remove(ALICE, EVE)
    await blocks.remove(ALICE, EVE)
    assert not await blocks.has(ALICE, EVE)
    await moderation.close()
    again = (await open_moderation()).blocks
    assert await again.of(ALICE, after="", limit=9) == Paged([wanted[2]], has_more=False)
    assert await again.blockers_of(EVE) == Blockers(frozenset({BOB}), is_all=True)
    assert await again.blockers_of(ALICE) == Blockers(frozenset(), is_all=True)


async def test_what_a_user_wrote_and_blocks_is_forgotten(moderation: Moderation) -> None:
    ones, others = report_of(1), report_of(2, reporter=BOB)
    for report in (ones, others):
        await moderation.reports.put(report)
    opened = [Block(ALICE, EVE, 1), Block(ALICE, BOB, 1), Block(BOB, ALICE, 1)]
    for block in opened:
        await moderation.blocks.put(block)
    assert await moderation.forget([ALICE, EVE]) == Forgotten(texts=1, blocks=2)
    assert await moderation.forget([ALICE]) == Forgotten(texts=0, blocks=0)
    assert await moderation.reports.of_reporter(ALICE) == [ones._replace(text=b"")]
    assert await moderation.reports.of_reporter(BOB) == [others]
    assert await moderation.blocks.blockers_of(EVE) == Blockers(frozenset(), is_all=True)
    assert await moderation.blocks.blockers_of(ALICE) == Blockers(frozenset({BOB}), is_all=True)
    late = taken(ones, "mia", "desk", NOW_MS)
    assert await moderation.reports.change(late) == late._replace(text=b"")


async def test_a_closed_store_says_so(moderation: Moderation) -> None:
    await moderation.close()
    await moderation.close()
    with pytest.raises(Unavailable):
        await moderation.reports.get("any")
