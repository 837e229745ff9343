import { useEffect, useRef, useState } from "preact/hooks";

import type { Conversation } from "../model/conversation";
import { exactly, shortly } from "../model/dates";
import { FOR_GOOD, type Settings } from "../model/settings";
import type { Session } from "../session";
import { Icon } from "./icons";

const HOURS = 8;

interface Given {
  readonly session: Session;
  readonly chat: Conversation;
}

/** A button that shows how this user can have the chat: pinned, archived, muted, blocked; and reports the other user. */
export function ChatMenu({ session, chat, report }: Given & { report: () => void }) {
  const [isOpen, setOpen] = useState(false);
  const all = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!isOpen) return undefined;
    const leave = ({ target }: Event) => !all.current?.contains(target as Node) && setOpen(false);
    const events = ["pointerdown", "focusin"];
    events.forEach((each) => addEventListener(each, leave));
    return () => events.forEach((each) => removeEventListener(each, leave));
  }, [isOpen]);
  const close = () => {
    setOpen(false);
    all.current?.querySelector("button")?.focus();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !isOpen) return;
    event.stopPropagation();
    close();
  };
  return (
    <div class="of-menu" ref={all} onKeyDown={onKey}>
      <button
        class="quiet-button"
        aria-label="Settings of this chat"
        title="Settings of this chat"
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
      >
        <Icon name="more" />
      </button>
      {isOpen && <Menu session={session} chat={chat} report={report} done={close} />}
    </div>
  );
}

function Menu({ session, chat, report, done }: Given & { report: () => void; done: () => void }) {
  const set = (change: Partial<Settings>, said: string) => {
    session.set(chat, change, said);
    done();
  };
  const { archived, pinned, mutedUntil } = chat.settings.now;
  const isMuted = chat.settings.isMuted();
  return (
    <div class="menu" role="group" aria-label="Settings of this chat">
      <button onClick={() => set({ pinned: !pinned }, pinned ? "unpinned" : "pinned")}>
        <Icon name="pin" /> {pinned ? "Unpin" : "Pin to the top"}
      </button>
      <button onClick={() => set({ archived: !archived }, archived ? "no longer archived" : "archived")}>
        <Icon name="archive" /> {archived ? "Take out of the archive" : "Archive"}
      </button>
      {isMuted && (
        <button onClick={() => set({ mutedUntil: undefined }, "no longer muted")}>
          <Icon name="heard" /> Unmute
        </button>
      )}
      {!isMuted && (
        <>
          <button onClick={() => set({ mutedUntil: inHours(HOURS) }, `muted for ${HOURS} hours`)}>
            <Icon name="muted" /> Mute for {HOURS} hours
          </button>
          <button onClick={() => set({ mutedUntil: FOR_GOOD }, "muted")}>
            <Icon name="muted" /> Mute
          </button>
        </>
      )}
      {!chat.isGroup && <AgainstUser session={session} chat={chat} report={report} done={done} />}
      {isMuted && mutedUntil! < FOR_GOOD && (
        <p class="quiet small" title={exactly(mutedUntil!)}>
          Muted until {shortly(mutedUntil!)}
        </p>
      )}
    </div>
  );
}

function AgainstUser({ session, chat, report, done }: Given & { report: () => void; done: () => void }) {
  const { peer } = chat;
  const isBlocked = session.safety.isBlocked(peer);
  const act = (what: () => unknown) => () => {
    done();
    void what();
  };
  return (
    <>
      <button onClick={act(() => (isBlocked ? session.safety.unblock(peer) : session.safety.block(peer)))}>
        <Icon name="block" /> {isBlocked ? "Unblock" : "Block"} {peer}
      </button>
      <button onClick={act(report)}>
        <Icon name="flag" /> Report {peer}
      </button>
    </>
  );
}

function inHours(hours: number): Date {
  return new Date(Date.now() + hours * 3_600_000);
}

/** Signs of what is set for a chat. */
export function SettingMarks({ chat }: { chat: Conversation }) {
  return (
    <>
      {chat.settings.isMuted() && (
        <>
          <Icon name="muted" />
          <span class="unseen">muted </span>
        </>
      )}
      {chat.settings.now.pinned && (
        <>
          <Icon name="pin" />
          <span class="unseen">pinned </span>
        </>
      )}
    </>
  );
}
