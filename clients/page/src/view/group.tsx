import { useEffect, useRef, useState } from "preact/hooks";

import type { Conversation } from "../model/conversation";
import type { Member } from "../model/group";
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
      location.hash = addressOf(await session.createGroup(name.trim(), users));
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
  const [typed, setTyped] = useState("");
  const [why, setWhy] = useState("");
  const newest = chat.newestChange;
  useEffect(() => {
    let isGone = false;
    session.membersOf(chat).then(
      (found) => isGone || setMembers(found),
      (error: Error) => isGone || setWhy(error.message),
    );
    return () => (isGone = true);
  }, [chat, newest]);
  const change = (what: Promise<unknown>) => {
    setWhy("");
    what.catch((error: Error) => setWhy(error.message));
  };
  const add = (event: Event) => {
    event.preventDefault();
    const { users, wrong } = usersIn(typed);
    if (wrong || !users.length) return setWhy(wrong || "Name somebody to add");
    setTyped("");
    change(session.addTo(chat, users));
  };
  const { role } = chat.group ?? {};
  const isAdmin = role === "admin" || role === "owner";
  return (
    <section class="group" aria-label="Members">
      <ul>
        {members.map(({ userId, role: theirs }) => (
          <li key={userId}>
            <Avatar user={userId} />
            <span class="name">{userId === session.me ? `${userId} (you)` : userId}</span>
            <span class="quiet small">{theirs ?? "invited"}</span>
            {isAdmin && userId !== session.me && theirs !== "owner" && (
              <button class="link" aria-label={`Remove ${userId}`} onClick={() => change(session.removeFrom(chat, [userId]))}>
                Remove
              </button>
            )}
          </li>
        ))}
      </ul>
      {isAdmin && (
        <form class="field" onSubmit={add}>
          <input
            value={typed}
            aria-label="Add to the group"
            placeholder="Add somebody"
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
          <button class="primary">Add</button>
        </form>
      )}
      <p class="wrong" role="alert">
        {why}
      </p>
      {role && (
        <button class="link" onClick={() => change(session.removeFrom(chat, [session.me]))}>
          Leave the group
        </button>
      )}
    </section>
  );
}

/** Stands where the field to write in would be, for those who may not write. */
export function NoComposer({ session, chat }: Given) {
  const [why, setWhy] = useState("");
  if (chat.group?.role) return <p class="no-composer">Only admins write here.</p>;
  const join = () => session.addTo(chat, [session.me]).catch((error: Error) => setWhy(error.message));
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
