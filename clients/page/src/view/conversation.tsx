import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { dayOf, exactly, lately } from "../model/dates";
import type { Conversation } from "../model/conversation";
import { rowsOf, type Row } from "../model/rows";
import type { Session } from "../session";
import { Avatar, isOnline } from "./avatar";
import { Composer } from "./composer";
import { GroupPanel, NoComposer } from "./group";
import { Icon } from "./icons";
import { ChatMenu, SettingMarks } from "./menu";
import { Asked, Blocked, ReportForm } from "./safety";
import { SaidLine } from "./said";

const NEAR_PX = 48;
const EARLY_PX = 600;

interface Given {
  readonly session: Session;
  readonly chat: Conversation;
}

/** The open chat: its head, its lines, and the field to write in. */
export function ConversationView({ session, chat }: Given) {
  const [isShown, show] = useState(false);
  const [reports, setReports] = useState(false);
  const all = useRef<HTMLElement>(null);
  const report = () => setReports(true);
  const reported = () => {
    setReports(false);
    all.current?.querySelector<HTMLElement>(".of-menu button")?.focus();
  };
  return (
    <section class="conversation" ref={all} aria-label={`Chat with ${chat.name}`}>
      <header>
        <a class="back quiet-button" href="#/" aria-label="Back to all chats">
          <Icon name="back" />
        </a>
        <Avatar user={chat.name} hue={chat.peer} online={isOnline(session, chat)} />
        <div class="peer">
          <h2>
            {chat.name} <SettingMarks chat={chat} />
          </h2>
          <p class="quiet small">{peerIs(session, chat)}</p>
        </div>
        {chat.group?.role && (
          <button
            class="quiet-button"
            aria-label="Members"
            title="Members"
            aria-expanded={isShown}
            onClick={() => show(!isShown)}
          >
            <Icon name="people" />
          </button>
        )}
        {session.chats.lastOf(chat) && <ChatMenu session={session} chat={chat} report={report} />}
      </header>
      {isShown && chat.group?.role && <GroupPanel session={session} chat={chat} />}
      {reports && <ReportForm session={session} peer={chat.peer} about={chat.peer} done={reported} />}
      <Lines key={chat.peer} session={session} chat={chat} />
      <p class="wrong" role="alert">
        {session.safety.why}
      </p>
      <Foot session={session} chat={chat} report={report} />
    </section>
  );
}

/** The field to write in, or why there is none, and what to do about that. */
function Foot({ session, chat, report }: Given & { report: () => void }) {
  const [hadField, writes] = [useRef(false), useRef(false)];
  if (session.safety.isBlocked(chat.peer)) return <Blocked session={session} chat={chat} />;
  if (!chat.isRequest) hadField.current = true;
  if (hadField.current && session.draft(chat)) writes.current = true; // so the field stays
  if (chat.isRequest && !writes.current) return <Asked session={session} chat={chat} report={report} />;
  return chat.canWrite ? <Composer session={session} chat={chat} /> : <NoComposer session={session} chat={chat} />;
}

/** How the other user is, or what a group is, as far as it is known. */
function peerIs(session: Session, { typists, presence, isGroup, group }: Conversation): string {
  if (session.state.state !== "connected") return "";
  if (typists.size) return isGroup ? `${[...typists].join(", ")}: typing …` : "typing …";
  if (isGroup) return group?.isChannel ? "channel" : "group";
  if (presence?.online) return "online";
  return presence?.lastSeen ? `last seen ${lately(presence.lastSeen)}` : "";
}

/** Where a person looked when the lines were drawn, or scrolled, last. */
interface Looked {
  readonly atEnd: boolean;
  readonly top: number;
  /** The first message on the screen, and where it was among the lines. */
  readonly line: HTMLElement | undefined;
  readonly lineTop: number;
}

function lookedAt(list: HTMLElement): Looked {
  const line = firstSeen(list);
  return { atEnd: isAtEnd(list), top: list.scrollTop, line, lineTop: line?.offsetTop ?? 0 };
}

function isAtEnd({ scrollHeight, scrollTop, clientHeight }: HTMLElement): boolean {
  return scrollHeight - scrollTop - clientHeight < NEAR_PX;
}

function firstSeen(list: HTMLElement): HTMLElement | undefined {
  const lines = list.querySelectorAll<HTMLElement>(".said, .note");
  let [low, high] = [0, lines.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const { offsetTop, offsetHeight } = lines[middle]!;
    if (offsetTop + offsetHeight <= list.scrollTop) low = middle + 1;
    else high = middle;
  }
  return lines[low];
}

/** Whether a person has scrolled up from the end. The browser may not have told of it yet. */
function hasLeftEnd(list: HTMLElement, { top }: Looked): boolean {
  return list.scrollTop < top && !isAtEnd(list);
}

/** The lines, which stay where a person looks: at the end, or at the same message. */
function Lines({ session, chat }: Given) {
  const list = useRef<HTMLDivElement>(null);
  const looked = useRef<Looked>({ atEnd: true, top: 0, line: undefined, lineTop: 0 });
  const before = useRef({ count: 0, shown: false });
  const [away, setAway] = useState(false);
  const rows = rowsOf(chat);

  const toEnd = () => {
    const { current } = list;
    if (current) current.scrollTop = current.scrollHeight;
  };
  const onScroll = () => {
    const { current } = list;
    if (!current) return;
    looked.current = lookedAt(current);
    const { atEnd } = looked.current;
    setAway(!atEnd);
    session.looks(atEnd && chat.loaded);
    const isEarly = current.scrollTop < EARLY_PX && chat.loaded;
    if (isEarly && !session.trouble) void session.loadOlder(chat);
  };
  useLayoutEffect(() => {
    const { current } = list;
    if (!current) return;
    const { count, shown } = before.current;
    const { atEnd, line, lineTop } = looked.current;
    const unread = current.querySelector<HTMLElement>(".new");
    if (!shown && chat.loaded && unread) current.scrollTop = unread.offsetTop - NEAR_PX;
    else if (chat.outgoing.length > count) toEnd();
    else if (atEnd && !hasLeftEnd(current, looked.current)) toEnd();
    else if (line?.isConnected) current.scrollTop += line.offsetTop - lineTop;
    before.current = { count: chat.outgoing.length, shown: chat.loaded };
    onScroll();
  });
  useEffect(() => {
    const watched = new ResizeObserver(() => looked.current.atEnd && toEnd());
    if (list.current) watched.observe(list.current);
    return () => watched.disconnect();
  }, []);

  return (
    <div class="reading">
      <div
        class="lines"
        ref={list}
        onScroll={onScroll}
        onKeyDown={among}
        tabIndex={0}
        role="region"
        aria-label={`Messages with ${chat.name}`}
      >
        <Beginning session={session} chat={chat} />
        <ol>
          {rows.map((row) => (
            <Line key={row.key} row={row} session={session} chat={chat} />
          ))}
        </ol>
      </div>
      {away && (
        <button class="jump" onClick={toEnd} aria-label={jumpLabel(chat.unread)}>
          <Icon name="down" />
          {chat.unread > 0 && <span class="badge">{chat.unread}</span>}
        </button>
      )}
    </div>
  );
}

/** Go by keyboard to what can be done with a message: Enter for the last one, then up and down. */
function among(event: KeyboardEvent & { readonly currentTarget: HTMLElement }): void {
  const { key, target, currentTarget } = event;
  const all = [...currentTarget.querySelectorAll<HTMLElement>(".more")];
  const at = all.indexOf(target as HTMLElement);
  const isIn = at >= 0 && (key === "ArrowUp" || key === "ArrowDown");
  if (!isIn && !(target === currentTarget && key === "Enter")) return;
  event.preventDefault();
  all[isIn ? at + (key === "ArrowUp" ? -1 : 1) : all.length - 1]?.focus();
}

function jumpLabel(unread: number): string {
  return unread > 0 ? `Jump to the latest message, ${unread} unread` : "Jump to the latest message";
}

function Beginning({ session, chat }: Given) {
  if (session.trouble && !chat.complete) {
    return (
      <p class="beginning">
        Earlier messages cannot be read just now.{" "}
        <button class="link" onClick={() => void session.loadOlder(chat)}>
          Try again
        </button>
      </p>
    );
  }
  if (chat.group && !chat.group.role && !chat.loaded) return <p class="beginning" />;
  if (!chat.complete) return <p class="beginning">{chat.loaded ? "Loading earlier messages" : ""}</p>;
  return (
    <p class="beginning">
      {chat.messages.length || chat.outgoing.length
        ? `This is where your chat with ${chat.name} begins.`
        : `Nothing has been said yet. Say hello to ${chat.name}.`}
    </p>
  );
}

function Line({ row, session, chat }: { row: Row; session: Session; chat: Conversation }) {
  if (row.kind === "said") {
    return (
      <SaidLine
        row={row}
        chat={chat}
        session={session}
        onRetry={(key) => session.retry(chat, key)}
        onDrop={(key) => session.drop(chat, key)}
      />
    );
  }
  if (row.kind === "day") {
    return (
      <li class="day">
        <time dateTime={row.at.toISOString()} title={exactly(row.at)}>
          {dayOf(row.at)}
        </time>
      </li>
    );
  }
  if (row.kind === "note") {
    return (
      <li class="note" title={exactly(row.at)}>
        {row.text}
      </li>
    );
  }
  if (row.kind === "new") return <li class="new">New</li>;
  return <li class="hole">Messages may be missing here</li>;
}
