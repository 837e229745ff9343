import type { ComponentChild } from "preact";
import { useState } from "preact/hooks";

import { exactly, lately } from "../model/dates";
import { isHeard, unreadIn } from "../model/chats";
import type { Conversation } from "../model/conversation";
import { inBrief } from "../model/files";
import { goneInWords } from "../model/message";
import { isUser } from "../model/names";
import type { Session } from "../session";
import { Avatar, isOnline } from "./avatar";
import { FoundMessages } from "./found";
import { NewGroup } from "./group";
import { Icon } from "./icons";
import { SettingMarks } from "./menu";
import { addressOf } from "./route";

interface Given {
  readonly session: Session;
  readonly onLeave: () => void;
}

/** Who chats here, a field that finds or begins a chat, and all chats. */
export function Sidebar({ session, onLeave }: Given) {
  const [wanted, setWanted] = useState("");
  const [makes, setMakes] = useState(false);
  const name = wanted.trim();
  const found = session.chats.sorted.filter(
    (chat) => (hasLine(session, chat) || chat === session.opened) && isCalled(chat, name),
  );
  const begins = isUser(name) && name !== session.me && !found.some((chat) => chat.peer === name);
  const go = (event: Event) => {
    event.preventDefault();
    const peer = begins ? name : found[0]?.peer;
    if (!name || peer === undefined) return;
    setWanted("");
    location.hash = addressOf(peer);
  };
  return (
    <nav class="sidebar" aria-label="Chats">
      <header>
        <Avatar user={session.me} />
        <p class="me" title={session.me}>
          {session.me}
        </p>
        <button
          class="quiet-button"
          onClick={() => setMakes(!makes)}
          title="New group"
          aria-label="New group"
          aria-expanded={makes}
        >
          <Icon name="people" />
        </button>
        <button class="quiet-button" onClick={onLeave} title="Be somebody else" aria-label="Be somebody else">
          <Icon name="leave" />
        </button>
      </header>
      <form class="find" role="search" onSubmit={go}>
        <input
          id="find"
          type="search"
          placeholder="Find or begin a chat"
          aria-label="Find or begin a chat"
          aria-keyshortcuts="Control+K"
          title="Ctrl+K"
          value={wanted}
          maxLength={64}
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          onInput={(event) => setWanted(event.currentTarget.value)}
        />
      </form>
      {makes && <NewGroup session={session} onDone={() => setMakes(false)} />}
      {begins && (
        <a class="begin" href={addressOf(name)} onClick={() => setWanted("")}>
          Chat with <strong>{name}</strong>
        </a>
      )}
      <List session={session} found={found} name={name} begins={begins} />
      <FoundMessages session={session} text={name} />
    </nav>
  );
}

function isCalled({ name, peer }: Conversation, wanted: string): boolean {
  return peer.includes(wanted) || name.toLowerCase().includes(wanted.toLowerCase());
}

function hasLine(session: Session, chat: Conversation): boolean {
  return Boolean(session.chats.lastOf(chat) || chat.outgoing.length || session.draft(chat));
}

interface ListGiven {
  readonly session: Session;
  readonly found: Conversation[];
  readonly name: string;
  readonly begins: boolean;
}

function List({ session, found, name, begins }: ListGiven) {
  if (found.length) {
    const isKept = ({ settings }: Conversation) => !name && settings.now.archived;
    const isAsked = (chat: Conversation) => !name && chat.isRequest && !isKept(chat);
    const isDone = (chat: Conversation) => session.safety.isBlocked(chat.peer) && chat !== session.opened;
    const requests = found.filter((chat) => isAsked(chat) && !isDone(chat));
    const kept = found.filter(isKept);
    return (
      <div class="all">
        <Folded session={session} chats={requests} name="Requests" badge={<Requests count={requests.length} />} />
        <Entries session={session} chats={found.filter((chat) => !isKept(chat) && !isAsked(chat))} />
        <Folded session={session} chats={kept} name="Archived" badge={<Unread count={unreadIn(kept)} mentions={0} isQuiet />} />
      </div>
    );
  }
  if (begins) return null;
  if (name === session.me) return <p class="empty">That is you.</p>;
  if (name.includes(" ")) return null; // these are words to look for
  if (name) return <p class="empty">{isUser(name) ? "" : "This is no name: use letters, digits and . _ : @ + -"}</p>;
  if (!session.chats.loaded && !session.trouble) return <Skeleton />;
  return (
    <p class="empty">
      No chats yet. Type somebody’s name above, and be that somebody in a second window.
    </p>
  );
}

function Entries({ session, chats }: { session: Session; chats: readonly Conversation[] }) {
  if (!chats.length) return null;
  return (
    <ul class="chats">
      {chats.map((chat) => (
        <Entry key={chat.peer} session={session} chat={chat} />
      ))}
    </ul>
  );
}

interface FoldedGiven {
  readonly session: Session;
  readonly chats: readonly Conversation[];
  readonly name: string;
  readonly badge: ComponentChild;
}

/** Chats of one kind, folded away. */
function Folded({ session, chats, name, badge }: FoldedGiven) {
  const [isOpen, setOpen] = useState(false);
  if (!chats.length) return null;
  return (
    <>
      <button class="fold" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icon name="down" /> {name}
        {badge}
      </button>
      {isOpen && <Entries session={session} chats={chats} />}
    </>
  );
}

function Requests({ count }: { count: number }) {
  return (
    <span class="badge muted">
      {count}
      <span class="unseen"> from people to whom you have not written</span>
    </span>
  );
}

function Unread({ count, mentions, isQuiet }: { count: number; mentions: number; isQuiet: boolean }) {
  if (!count) return null;
  return (
    <span class={isQuiet ? "badge muted" : "badge"}>
      {mentions > 0 && (
        <span class="mention" title="You are mentioned" aria-hidden="true">
          @
        </span>
      )}
      {count > 99 ? "99+" : count}
      <span class="unseen"> unread{mentions > 0 && ", and you are mentioned"}</span>
    </span>
  );
}

function Skeleton() {
  return (
    <ul class="chats skeleton" aria-hidden="true">
      {[0, 1, 2].map((each) => (
        <li key={each}>
          <span class="avatar" />
          <span class="bar" />
        </li>
      ))}
    </ul>
  );
}

function Entry({ session, chat }: { session: Session; chat: Conversation }) {
  const last = session.chats.lastOf(chat);
  const at = chat.outgoing.at(-1)?.at ?? last?.at;
  const isOpen = chat === session.opened;
  return (
    <li>
      <a href={addressOf(chat.peer)} class="chat" aria-current={isOpen ? "page" : undefined}>
        <Avatar user={chat.name} hue={chat.peer} online={isOnline(session, chat)} />
        <span class="name">
          {chat.name}
          {isOnline(session, chat) && <span class="unseen"> is online</span>}
        </span>
        {at && (
          <time class="at" dateTime={at.toISOString()} title={exactly(at)}>
            {lately(at)}
          </time>
        )}
        <span class="last" dir="auto">
          <LastLine session={session} chat={chat} isOpen={isOpen} />
        </span>
        <span class="marks">
          <SettingMarks chat={chat} />
          <Unread count={chat.unread} mentions={chat.mentions} isQuiet={!isHeard(chat)} />
        </span>
      </a>
    </li>
  );
}

function LastLine({ session, chat, isOpen }: { session: Session; chat: Conversation; isOpen: boolean }) {
  if (chat.typists.size && session.state.state === "connected") return <em class="types">typing …</em>;
  const draft = session.draft(chat);
  if (draft && !isOpen) {
    return (
      <>
        <em class="draft">Draft:</em> {draft}
      </>
    );
  }
  const waiting = chat.outgoing.at(-1);
  const last = session.chats.lastOf(chat);
  if (waiting) return <>You: {inBrief(waiting.text, waiting.files)}</>;
  if (!last) return <>&nbsp;</>;
  if (last.note !== undefined) return <>{last.note || `${last.from} changed nothing`}</>;
  const text = last.deleted ? goneInWords(last) : (last.text === undefined ? "A message whose content is lost" : inBrief(last.text, last.files));
  const who = last.from === session.me ? "You" : chat.isGroup && last.from;
  return <>{who ? `${who}: ${text}` : text}</>;
}
