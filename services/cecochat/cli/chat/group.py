"""`cecochat group`: makes groups, and shows and changes who belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cecochat.cli import options
from cecochat.cli.chat.sender import sender
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.failure import run
from cecochat.cli.group_change import change_json, in_words, member_json, options_json
from cecochat.cli.group_change import options_text as called
from cecochat.cli.output import echo, json_line, print_table
from cecochat.cli.target import check_user, target, token_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from cecochat.client import Client, Group, GroupChange, Groups, Member

T = TypeVar("T")

GroupId = Annotated[
    str, typer.Argument(metavar="GROUP", help="The chat id of a group, such as g:hikers.")
]
Users = Annotated[list[str], typer.Argument(metavar="USER", help="User ids, 100 at most.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Make groups, and show and change who belongs to them. To write to one, use its chat id: "
    "`cecochat send --as alice g:hikers 'Where to?'`",
)


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="group")


@app.command(epilog="Example: cecochat group create --as alice Hikers bob carol --id g:hikers")
def create(
    name: Annotated[str, typer.Argument(help="What the group is called.")],
    users: Annotated[
        list[str], typer.Argument(metavar="USER", help="Its members besides you.")
    ] = [],  # noqa: B006 - Typer copies it
    id_: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="GROUP", help="Its chat id, such as g:hikers. By default a random one."
        ),
    ] = None,
    channel: Annotated[
        bool, typer.Option("--channel", help="Let only admins and the owner write.")
    ] = False,
    is_open: Annotated[
        bool, typer.Option("--open", help="Let everybody join who knows the chat id.")
    ] = False,
    hide_past: Annotated[
        bool, typer.Option("--hide-past", help="Show new members nothing from before they came.")
    ] = False,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Make a group that you own, and print its chat id."""

    async def creates(client: Client) -> str:
        from cecochat.client import SendRejected

        try:
            return await client.groups.create(
                name,
                members=users,
                chat_id=id_,
                is_channel=channel,
                is_open=is_open,
                hides_past=hide_past,
            )
        except SendRejected as error:
            if error.code != "not_found":
                raise
            raise Failed(f"{id_} is a group of others: choose another --id") from None

    chat_id = run(_with_client(creates, as_, connect, token))
    if json:
        json_line({"chat_id": chat_id})
    else:
        echo(chat_id)


@app.command(epilog="Example: cecochat group show --as alice g:hikers")
def show(
    group: GroupId,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Print what a group is, what you are there, and how many belong to it.

    If you have left it, this is what it was then.
    """
    found, members = run(_read(group, as_, connect, token))
    count = sum(member.role is not None for member in members)
    invited = len(members) - count
    if json:
        about = {"chat_id": found.chat_id, **(options_json(found.options) or {})}
        json_line({**about, "role": found.role, "members": count, "invited": invited})
        return
    echo(f"{found.chat_id}  {called(found.options)}")
    echo(f"you     {found.role or 'left it; this is what it was then'}")
    echo(f"people  {count}" + (f", and {invited} invited" if invited else ""))


@app.command(epilog="Example: cecochat group members --as alice g:hikers")
def members(
    group: GroupId,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Print who belongs to a group and who is invited, sorted by user id."""
    _, found = run(_read(group, as_, connect, token))
    if json:
        for member in found:
            json_line(member_json(member))
    else:
        print_table([(each.user_id, each.role or "invited") for each in found])


@app.command(epilog="Example: cecochat group add --as alice g:hikers dave erin")
def add(
    group: GroupId,
    users: Users,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Add members. It takes an admin or the owner."""
    _change(group, lambda groups: groups.add(group, *users), as_, connect, token, json)


@app.command(epilog="Example: cecochat group remove --as alice g:hikers dave")
def remove(
    group: GroupId,
    users: Users,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Remove members, or withdraw their invitations. It takes a higher role than theirs."""
    _change(group, lambda groups: groups.remove(group, *users), as_, connect, token, json)


@app.command(epilog="Example: cecochat group ban --as alice g:hikers mallory")
def ban(
    group: GroupId,
    users: Users,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Keep users out: members among them are removed. It takes a higher role than theirs."""
    _change(group, lambda groups: groups.ban(group, *users), as_, connect, token, json)


@app.command(epilog="Example: cecochat group unban --as alice g:hikers mallory")
def unban(
    group: GroupId,
    users: Users,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Lift the ban of users, who may join or be added again. It takes an admin or the owner."""
    _change(group, lambda groups: groups.unban(group, *users), as_, connect, token, json)


@app.command(epilog="Example: cecochat group leave --as bob g:hikers")
def leave(
    group: GroupId,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Leave a group. If you own it, an admin does from then on, or else who came first."""
    _change(group, lambda groups: groups.leave(group), as_, connect, token, json)


@app.command(epilog="Example: cecochat group join --as dave g:hikers")
def join(
    group: GroupId,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Join a group that is open, or to which you are invited."""
    _change(group, lambda groups: groups.join(group), as_, connect, token, json)


@app.command(epilog="Example: cecochat group invite --as alice g:hikers dave")
def invite(
    group: GroupId,
    users: Users,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Let users join, which they then do themselves: tell them the chat id.

    It takes an admin or the owner.
    """
    _change(group, lambda groups: groups.invite(group, *users), as_, connect, token, json)


@app.command(epilog="Example: cecochat group rename --as alice g:hikers 'Hikers of the north'")
def rename(
    group: GroupId,
    name: Annotated[str, typer.Argument(help="What the group is called from now on.")],
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Give a group another name. It takes an admin or the owner."""
    _change(group, lambda groups: groups.rename(group, name), as_, connect, token, json)


@app.command("set", epilog="Example: cecochat group set --as alice g:hikers --open --hide-past")
def set_(
    group: GroupId,
    channel: Annotated[
        bool | None,
        typer.Option("--channel/--no-channel", help="Only admins and the owner write / all do."),
    ] = None,
    is_open: Annotated[
        bool | None,
        typer.Option(
            "--open/--closed",
            help="Everybody joins who knows the chat id / only those who are invited.",
        ),
    ] = None,
    hide_past: Annotated[
        bool | None,
        typer.Option(
            "--hide-past/--show-past",
            help="Show new members nothing from before they came / show all of it.",
        ),
    ] = None,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Change what holds in a group. Only its owner can."""
    if channel is is_open is hide_past is None:
        raise UsageError("nothing to change is given: use --channel, --open or --hide-past")

    def sets(groups: Groups) -> Coroutine[Any, Any, int]:
        return groups.configure(group, is_channel=channel, is_open=is_open, hides_past=hide_past)

    _change(group, sets, as_, connect, token, json)


@app.command(epilog="Example: cecochat group appoint --as alice g:hikers bob admin")
def appoint(
    group: GroupId,
    user: Annotated[str, typer.Argument(help="A member.")],
    role: Annotated[
        str,
        typer.Argument(
            help="muted, member, admin or owner. Who appoints an owner is an admin then."
        ),
    ],
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Give a member another role. Only the owner can; an admin can mute a member, who then reads
    and writes nothing, and make one who is muted a member again.
    """

    def appoints(groups: Groups) -> Coroutine[Any, Any, int]:
        return groups.appoint(group, user, role)  # type: ignore[arg-type] # it checks the role

    _change(group, appoints, as_, connect, token, json)


def _change(
    group: str,
    change: Callable[[Groups], Awaitable[int]],
    as_: str | None,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Change a group, and print what it came to."""

    async def changes(client: Client) -> tuple[int, GroupChange | None]:
        return (id_ := await change(client.groups)), await _settled(client, group, id_)

    id_, settled = run(_with_client(changes, as_, url, token))
    if as_json:
        json_line(change_json(settled) if settled else {"group_change": {"id": str(id_)}})
    elif settled:
        echo(in_words(settled) or "nothing has changed: all of it is so already")
    else:
        echo(f"done ({id_})")


async def _settled(client: Client, group: str, id_: int) -> GroupChange | None:
    """Return what a change came to; None if the history cannot say it just now."""
    from cecochat.client import ChatError, GroupChange

    try:
        page = await client.history(group, 1, before=id_ + 1)
    except ChatError:
        return None
    found = page.entries[0] if page.entries else None
    return found if isinstance(found, GroupChange) and found.id == id_ else None


async def _with_client(
    act: Callable[[Client], Awaitable[T]], as_: str | None, url: str | None, token: str | None
) -> T:
    async with sender(as_, url, token) as client:
        return await act(client)


async def _read(
    group: str, as_: str | None, url: str | None, token: str | None
) -> tuple[Group, list[Member]]:
    from cecochat.client import open_history

    where = target(url)
    async with open_history(where.connect_url, token_for(where, as_, token)) as history:
        check_user(as_, history.user_id)
        found = await history.group(group)
        return found, [member async for member in history.every_member(group)]
