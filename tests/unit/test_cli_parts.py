"""The parts of the command line that need no system."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cecochat.cli import ports
from cecochat.cli.chat.conversation import DELIVERED, OPEN_MAX, READ, SENDING, SENT, Conversation
from cecochat.cli.chat.token import seconds
from cecochat.cli.data import audit
from cecochat.cli.data.ledger import Ledger
from cecochat.cli.data.transcript import read
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import judge
from cecochat.cli.main import app
from cecochat.cli.operate import checks
from cecochat.cli.output import message_json
from cecochat.cli.systems import System
from cecochat.client import Message, Receipt, StateInUse
from cecochat.client.errors import NotReachable, Refused
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.domain.printable import printable

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
CHAT = "d:alice~bob"


def message(id_: int, user: str, text: str) -> Message:
    return Message(id_, CHAT, user, text, f"c{id_}")


# -- every command explains itself


ALL = (
    "up chat send history chats connect token doctor import export".split(),
    "get set unset watch history".split(),
)
PATHS = [[name] for name in ALL[0]] + [["config", name] for name in ALL[1]]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_has_help_with_an_example(path: list[str]) -> None:
    result = CliRunner().invoke(app([]), [*path, "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"cecochat {' '.join(path)}" in " ".join(result.output.split())


EVERY = [
    *((name,) for name in ALL[0]),
    ("revoke",),
    ("where",),
    ("audit",),
    ("deploy",),
    ("dead", "list"),
]


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
@pytest.mark.parametrize("columns", [80, 120])
def test_help_is_filled_to_the_width_of_the_terminal(path: tuple[str, ...], columns: int) -> None:
    """Not broken where the lines of the source end."""
    size = {"COLUMNS": str(columns), "TERMINAL_WIDTH": str(columns)}
    shown = CliRunner().invoke(app([]), [*path, "--help"], env=size).output
    about = shown.partition("Usage:")[2].partition("╭")[0].splitlines()[1:]
    lines = [line.strip() for line in about]
    assert any(lines)
    for line, after in pairwise(lines):
        if line and after:
            assert len(line) + 1 + len(after.split()[0]) > columns - 2, (line, after)


def test_help_takes_no_table_for_markup() -> None:
    shown = CliRunner().invoke(app([]), ["deploy", "--help"]).output
    assert "[messaging]" in shown
    assert "[edge-job]" in shown


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    slow = ("asyncio", "google.protobuf", "grpc", "httpx", "jwt", "prompt_toolkit", "sanic")
    program = f"import sys, cecochat.cli.main; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


# -- how errors end a command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidSettings("that is not a number"), 2),
        (NotReachable("nothing listens there"), 3),
        (Unavailable("Nomad has no leader"), 3),
        (Refused("invalid", "too long"), 4),
    ],
)
def test_the_exit_code_tells_what_can_be_done(error: Exception, code: int) -> None:
    said, found = judge(error)
    assert (said.startswith(str(error)), found) == (True, code)


# -- ports


def test_a_busy_port_is_named_and_others_are_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        # Others in that row may be in use, too, on a machine where more goes on.
        with pytest.raises(UsageError, match=rf"ports? {port}\b.* in use: stop what uses it"):
            ports.choose({"127.0.0.1"}, port, {})
        with pytest.raises(UsageError, match="CECOCHAT_HISTORY_PORT"):
            ports.choose({"127.0.0.1"}, None, {"CECOCHAT_HISTORY_PORT": str(port)})


def test_ports_that_the_environment_fixes_stay() -> None:
    chosen = ports.choose({"127.0.0.1"}, None, {"CECOCHAT_MESSAGING_PORT": "0"})
    assert "messaging_port" not in chosen.ports
    assert len(chosen.ports) == len(ports.NAMES) - 1


# -- texts of strangers


@pytest.mark.parametrize("steering", ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\r", "\x00"])
def test_a_text_cannot_steer_the_terminal(steering: str) -> None:
    assert steering[0] not in printable(f"a{steering}b")
    assert printable("tab\tline\nžluťoučký 👩‍🚀 kůň") == "tab\tline\nžluťoučký 👩‍🚀 kůň"


# -- lifetimes


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("15m", 900), ("1.5h", 5_400), ("7d", 604_800)]
)
def test_a_lifetime_is_read(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "h", "0", "-1h", "1w", "1h30m", "inf"])
def test_what_is_no_lifetime_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        seconds(text)


# -- transcripts


def test_a_transcript_names_its_messages_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    rows = [
        {"from": "alice", "to": "bob", "text": "hi"},
        {"from": "bob", "to": "alice", "text": "ho"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    first, again = read(file), read(file)
    assert first == again
    assert [(e.sender, e.chat_id, e.text) for e in first.entries] == [
        ("alice", CHAT, "hi"),
        ("bob", CHAT, "ho"),
    ]
    file.write_text(file.read_text() + json.dumps(rows[0]))
    other = read(file)
    ids = {entry.client_message_id for entry in first.entries + other.entries}
    assert len(ids) == 5


def test_an_exported_message_is_a_line_of_a_transcript(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text(json.dumps(message_json(message(1 << 40, "bob", "two\nlines"))))
    [entry] = read(file).entries
    assert (entry.sender, entry.chat_id, entry.text) == ("bob", CHAT, "two\nlines")
    assert entry.client_message_id == f"c{1 << 40}"


@pytest.mark.parametrize("chat", ["g:us", "d:bob~g:us"])
def test_what_was_said_in_a_group_is_not_taken_for_a_dialog_or_the_other_way_round(
    tmp_path: Path, chat: str
) -> None:
    file = tmp_path / "talk.jsonl"
    said = message_json(Message(1 << 40, chat, "bob", "hello", "c"))
    assert said["to"] == "g:us"
    file.write_text(json.dumps(said))
    [entry] = read(file).entries
    assert entry.chat_id == chat


@pytest.mark.parametrize(
    "line",
    ["no json", "[]", '{"from": "alice"}', '{"from": "a b", "to": "bob", "text": "x"}',
     '{"from": "bob", "to": "bob", "text": "x"}', '{"from": "alice", "to": "bob", "text": ""}',
     r'{"from": "alice", "to": "bob", "text": "\ud800"}',
     '{"from": "alice", "to": "bob", "text": "x", "client_message_id": 7}'],
)  # fmt: skip
def test_a_wrong_line_is_named_before_anything_is_sent(tmp_path: Path, line: str) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text('{"from": "alice", "to": "bob", "text": "fine"}\n' + line)
    with pytest.raises(UsageError, match="line 2"):
        read(file)


# -- the ledger


def test_the_ledger_keeps_device_and_answers_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "imports" / "a.db"
    ledger = Ledger(path)
    ledger.keep("alice", {"outbox": []}, {"1", "2"})
    with pytest.raises(StateInUse):
        Ledger(path)
    ledger.close()
    again = Ledger(path)
    assert again.snapshot("alice") == {"outbox": []}
    assert again.is_answered("alice", "2")
    assert not again.is_answered("bob", "2")
    again.close()


# -- the chat window


def test_ticks_follow_what_is_known_of_a_message() -> None:
    shown = Conversation("alice", "bob")
    line = shown.say("hi", NOON)
    assert shown.tick(line) == SENDING
    assert shown.unanswered == 1
    shown.accepted(line, 10)
    assert shown.tick(line) == SENT
    shown.mark(Receipt(CHAT, "bob", 10, 0))
    assert shown.tick(line) == DELIVERED
    assert shown.take_settled() == []
    shown.mark(Receipt(CHAT, "bob", 0, 10))
    assert shown.tick(line) == READ
    assert shown.take_settled() == [line]
    assert shown.open_lines == []


def test_what_becomes_of_a_printed_line_is_news_once() -> None:
    shown = Conversation("alice", "bob")
    mine = [shown.say(f"mine {number}", NOON) for number in range(OPEN_MAX + 3)]
    for number, line in enumerate(mine):
        shown.accepted(line, 10 + number)
    printed = shown.take_settled()
    assert printed == mine[:3]
    assert not any(map(shown.is_final, printed)), "so no tick may be printed for good"
    assert shown.take_news() == []
    shown.mark(Receipt(CHAT, "bob", 11, 10))
    assert shown.take_news() == [(mine[0], READ), (mine[1], DELIVERED)]
    assert shown.take_news() == []
    shown.mark(Receipt(CHAT, "bob", 18, 18))
    assert shown.take_settled() == mine[3:]
    assert shown.take_news() == [(mine[2], READ)], "the newest of those with that tick"
    assert shown.take_news() == []


def test_lines_are_printed_once_and_in_the_order_of_the_window() -> None:
    shown = Conversation("alice", "bob")
    printed: list[str] = []
    for number in range(20):
        line = shown.say(f"mine {number}", NOON)
        if number % 5 == 0:
            shown.refused(line, "too large")
        else:
            shown.accepted(line, 100 + number)
        if number % 7 == 3:
            shown.show(message(number, "bob", f"his {number}"))
        printed += [each.text for each in shown.take_settled()]
    shown.settle_all()
    printed += [each.text for each in shown.take_settled()]
    expected = [f"mine {number}" for number in range(20)]
    for number in (17, 10, 3):
        expected.insert(number + 1, f"his {number}")
    assert printed == expected


def test_a_line_without_an_answer_stays_open_below_what_arrives() -> None:
    shown = Conversation("alice", "bob")
    mine = [shown.say(f"mine {number}", NOON) for number in range(OPEN_MAX + 3)]
    shown.show(message(5, "bob", "his"))
    assert [each.text for each in shown.take_settled()] == ["his"]
    assert shown.open_lines == mine
    shown.accepted(mine[0], 6)
    assert shown.take_settled() == [mine[0]]


def test_an_own_line_that_the_history_shows_too_stands_there_once() -> None:
    shown = Conversation("alice", "bob")
    first, second = shown.say("hello", NOON), shown.say("there", NOON)
    shown.accepted(first, 6)
    shown.show(message(6, "alice", "hello"))
    shown.show(message(7, "alice", "there"))  # the history has it before the answer is here
    shown.accepted(second, 7)
    shown.settle_all()
    assert [each.text for each in shown.take_settled()] == ["hello", "there"]


# -- the doctor


def test_a_clock_that_went_back_is_found(tmp_path: Path) -> None:
    (tmp_path / "log.db").touch()
    written_s = (tmp_path / "log.db").stat().st_mtime
    assert checks.clock(tmp_path, written_s + 1).result == "ok"
    assert checks.clock(tmp_path, written_s - 3_600).result == "wrong"
    assert checks.clock(tmp_path, 0.0).result == "wrong"


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert checks.folder(tmp_path / "new" / "data").result == "ok"
    finding = checks.folder(tmp_path / "file" / "data")
    assert finding.result == "wrong"
    assert "--data" in finding.mend


def test_an_up_that_is_gone_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    health = {"connect": f"http://127.0.0.1:{port}"}
    known = System("", "", "", health, "/d", None, "/d/secret", {}, {}, runs=False)
    finding = checks.last_up_ready(known)
    assert finding.result == "wrong"
    assert "connect does not answer" in finding.found
    assert "cecochat up --data /d" in finding.mend


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (None, "1970-01-01T00:00+00:00"),
        ("30m", "2026-11-27T11:30+00:00"),
        ("12h", "2026-11-27T00:00+00:00"),
        ("7d", "2026-11-20T12:00+00:00"),
        ("2026-11-27T08:00+02:00", "2026-11-27T06:00+00:00"),
    ],
)
def test_an_audit_since_a_time_or_for_a_while(text: str | None, at: str) -> None:
    now = datetime.fromisoformat("2026-11-27T12:00+00:00")
    assert audit._since_ms(text, now) == datetime.fromisoformat(at).timestamp() * 1_000


@pytest.mark.parametrize("text", ["", "h", "2w", "-3h", "yesterday", "999999d"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="use 30m, 12h, 7d"):
        audit._since_ms(text, datetime.fromisoformat("2026-11-27T12:00+00:00"))
