"""What the words of texts are, what is looked for, and what events mean for the search."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.search.entries import Gone, Text, entry_of, scopes
from cecochat.domain.search.words import QUERY_MAX, Query, query, words
from cecochat.v1.events_pb2 import Deletion, Edit, Event, Membership, Message, Reaction, Receipt

AB = ChatId("d:ann~bob")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World! don't", "hello world don t"),
        ("Straße CAFÉ \N{FULLWIDTH LATIN SMALL LETTER A}b ﬁsh", "strasse cafe ab fish"),
        ("e\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT}", "ete"),
        ("snake_case bob@x.com №7", "snake case bob x com no7"),
        ("Привет, Ёлка", "привет елка"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),
        ("한국어 검색", "한국어 검색"),
        ("مُحَمَّد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("你好吗 hello世界", "你 好 吗 hello 世 界"),
        ("がか", "が か"),
        ("ไทย", "ไ ท ย"),
        ("🎉party ❤️", "🎉 party ❤"),
        (" .,-_ ", ""),
    ],
)
def test_words_of_many_languages(text: str, expected: str) -> None:
    assert words(text) == expected.split()


@given(st.text())
def test_words_are_their_own_words(text: str) -> None:
    assert words(" ".join(words(text))) == words(text)


@given(st.text(min_size=1), st.text(min_size=1))
def test_texts_side_by_side_have_the_words_of_both(one: str, other: str) -> None:
    assert words(f"{one}\n{other}") == words(one) + words(other)


def test_each_part_of_a_query_is_a_phrase_and_the_last_word_is_open() -> None:
    assert query("Don't  PAN") == Query((("don", "t"), ("pan",)), is_open=True)
    assert query("你好 a") == Query((("你", "好"), ("a",)), is_open=False)
    assert query("- a -") == Query((("a",),), is_open=False)


@pytest.mark.parametrize("text", ["", " .,", "a" * (QUERY_MAX + 1)])
def test_what_cannot_be_looked_for_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        query(text)
    assert refused.value.name == "invalid_argument"


def event(user: str = "ann", **body: Any) -> Event:
    return Event(id=7, chat_id=AB, user_id=user, **body)


def test_what_events_mean() -> None:
    ann, bob = UserId("ann"), UserId("bob")
    assert entry_of(event(message=Message(text="Oh, no"))) == Text(7, 7, AB, ann, "oh no")
    edit = event("bob", edit=Edit(message_id=5, text="Yes"))
    assert entry_of(edit) == Text(7, 5, AB, bob, "yes")
    assert entry_of(event(deletion=Deletion(message_id=5))) == Gone(5, ann)
    assert entry_of(event(deletion=Deletion(message_id=5, as_admin=True))) == Gone(5, None)


@pytest.mark.parametrize(
    "body",
    [
        {"message": Message(text="...")},
        {"reaction": Reaction(message_id=5, emoji="👍")},
        {"membership": Membership(added_ids=["bob"])},
        {"receipt": Receipt(read_up_to=5)},
    ],
)
def test_other_events_mean_nothing(body: dict[str, Any]) -> None:
    assert entry_of(event(**body)) is None


def test_a_dialog_is_found_by_itself_and_by_its_users() -> None:
    assert scopes(AB) == (AB, "u:ann", "u:bob")
    assert scopes(ChatId("g:us")) == ("g:us",)
