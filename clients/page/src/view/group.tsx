import { useEffect, useRef, useState } from "preact/hooks";

import type { Conversation } from "../model/conversation";
import { type Member, may, mayRemove } from "../model/group";
import { isGroup, isUser } from "../model/names";
import type { Session } from "../session";
import { Avatar } from "./avatar";
import { addressOf } from "./route";

interface Given {
  readonly session: Session;
  readonly chat: Conversation;
}

/** Return the users that somebody has typed, or why they are none. */
function usersIn(typed: string): { users: string[]; wrong: string } {
  const users = typed.split(/[\s,;]+/).filter(Boolean);
  const wrong = users.find((each) => !isUser(each) || isGroup(each));
  return { users, wrong: wrong === undefined ? "" : `${wrong} is no name` };
}

/** A form that makes a group. */
export function NewGroup({ session, onDone }: { session: Session; onDone: () => void }) {
  const [name, setName] = useState("");
  const [members, setMembers] = useState("");
  const [why, setWhy] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const create = async (event: Event) => {
    event.preventDefault();
    const { users, wrong } = usersIn(members);
    if (wrong || !name.trim()) return setWhy(wrong || "Give the group a name");
    try {
      location.hash = addressOf(await session.groups.create(name.trim(), users));
      onDone();
    } catch (error) {
      setWhy((error as Error).message);
    }
  };
  return (
    <form class="new-group" aria-label="New group" onSubmit={(event) => void create(event)}>
      <label>
        Name of the group
        <input
          ref={field}
          value={name}
          maxLength={128}
          autocomplete="off"
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      <label>
        Who belongs to it besides you
        <input
          value={members}
          placeholder="bob, carol"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          onInput={(event) => setMembers(event.currentTarget.value)}
        />
      </label>
      <p class="wrong" role="alert">
        {why}
      </p>
      <button class="primary">Create</button>{" "}
      <button type="button" class="link" onClick={onDone}>
        Cancel
      </button>
    </form>
  );
}

/** Who belongs to a group, and what this user may change there. */
export function GroupPanel({ session, chat }: Given) {
  const [members, setMembers] = useState<readonly Member[]>([]);
  const [why, setWhy] = useState("");
  const newest = chat.newestChange;
  useEffect(() => {
    let isGone = false;
    session.groups.members(chat.peer).then(
      (found) => isGone || setMembers(found),
      (error: Error) => isGone || setWhy(error.message),
    );
    return () => (isGone = true);
  }, [chat, newest]);
  const change = (what: Promise<unknown>) => {
    setWhy("");
    what.catch((error: Error) => setWhy(error.message));
  };
  const { group, peer, name } = chat;
  return (
    <section class="group" aria-label="Members" tabIndex={-1}>
      {may(group, "rename") && (
        <Rename key={name} name={name} onName={(wanted) => change(session.groups.rename(peer, wanted))} />
      )}
      <ul>
        {members.map((each) => (
          <MemberLine key={each.userId} member={each} session={session} chat={chat} change={change} />
        ))}
      </ul>
      {may(group, "add") && <Bring session={session} chat={chat} change={change} onWrong={setWhy} />}
      <p class="wrong" role="alert">
        {why}
      </p>
      {may(group, "leave") && (
        <button class="link" onClick={() => change(session.groups.remove(peer, [session.me]))}>
          Leave the group
        </button>
      )}
    </section>
  );
}

type Change = (what: Promise<unknown>) => void;

function Rename({ name, onName }: { name: string; onName: (name: string) => void }) {
  const [typed, setTyped] = useState(name);
  const wanted = typed.trim();
  const rename = (event: Event) => {
    event.preventDefault();
    if (wanted && wanted !== name) onName(wanted);
  };
  return (
    <form class="field" onSubmit={rename}>
      <input
        value={typed}
        aria-label="Name of the group"
        maxLength={128}
        autocomplete="off"
        onInput={(event) => setTyped(event.currentTarget.value)}
      />
      <button class="primary" disabled={!wanted || wanted === name}>
        Rename
      </button>
    </form>
  );
}

/** A member, or somebody who is invited, and what this user may do about them. */
function MemberLine({ member, session, chat, change }: Given & { member: Member; change: Change }) {
  const { userId, role } = member;
  const { group, peer } = chat;
  const isMe = userId === session.me;
  const next = role === "member" ? "admin" : "member";
  const remove = (event: Event & { readonly currentTarget: HTMLElement }) => {
    event.currentTarget.closest<HTMLElement>(".group")?.focus(); // the button goes with its member
    change(session.groups.remove(peer, [userId]));
  };
  return (
    <li>
      <Avatar user={userId} />
      <span class="name">{isMe ? `${userId} (you)` : userId}</span>
      <span class="quiet small">{role ?? "invited"}</span>
      {!isMe && role && may(group, "appoint") && (
        <button
          class="link"
          aria-label={`Make ${next}: ${userId}`}
          onClick={() => change(session.groups.appoint(peer, userId, next))}
        >
          Make {next}
        </button>
      )}
      {!isMe && mayRemove(group, role) && (
        <button class="link" aria-label={`Remove ${userId}`} onClick={remove}>
          Remove
        </button>
      )}
    </li>
  );
}

/** A field for people who are to belong to the group, at once or once they join. */
function Bring({ session, chat, change, onWrong }: Given & { change: Change; onWrong: (why: string) => void }) {
  const [typed, setTyped] = useState("");
  const bring = (how: "add" | "invite") => {
    const { users, wrong } = usersIn(typed);
    if (wrong || !users.length) return onWrong(wrong || `Name somebody to ${how}`);
    setTyped("");
    change(session.groups[how](chat.peer, users));
  };
  const add = (event: Event) => {
    event.preventDefault();
    bring("add");
  };
  return (
    <form class="field" onSubmit={add}>
      <input
        value={typed}
        aria-label="Add or invite"
        placeholder="Add or invite"
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        onInput={(event) => setTyped(event.currentTarget.value)}
      />
      <button class="primary">Add</button>
      <button type="button" class="second" title="They may join: tell them the address of this page" onClick={() => bring("invite")}>
        Invite
      </button>
    </form>
  );
}

/** Stands where the field to write in would be, for those who may not write. */
export function NoComposer({ session, chat }: Given) {
  const [why, setWhy] = useState("");
  if (chat.group?.role === "muted") return <p class="no-composer">You are muted here.</p>;
  if (chat.group?.role) return <p class="no-composer">Only admins write here.</p>;
  const join = () => session.groups.add(chat.peer, [session.me]).catch((error: Error) => setWhy(error.message));
  return (
    <p class="no-composer">
      You do not belong to this group.{" "}
      <button class="link" onClick={() => void join()}>
        Join
      </button>{" "}
      <span role="alert">{why}</span>
    </p>
  );
}
