import { useEffect, useRef, useState } from "preact/hooks";

import type { Conversation } from "../model/conversation";
import type { Session } from "../session";

/** The codes of reasons, as moderators see them, and what they are called here. */
const REASONS = {
  spam: "Spam or fraud",
  abuse: "Insults or hatred",
  threats: "Threats or violence",
  sexual: "Sexual content",
  other: "Something else",
};
const TEXT_MAX = 250; // characters, of up to 4 bytes

interface Given {
  readonly session: Session;
  readonly chat: Conversation;
}

interface ReportGiven {
  readonly session: Session;
  readonly peer: string;
  /** The user who is reported, or has written what is. */
  readonly about: string;
  readonly message?: bigint;
  readonly done: () => void;
}

/** A form that reports a message, or a user, to the moderators. */
export function ReportForm(given: ReportGiven) {
  const { about, done } = given;
  const [isSent, setSent] = useState(false);
  const all = useRef<HTMLDivElement>(null);
  useEffect(() => all.current?.querySelector<HTMLElement>("select, button")?.focus(), [isSent]);
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    done();
  };
  return (
    <div class="report" role="group" aria-label={`Report ${about}`} ref={all} onKeyDown={onKey}>
      {isSent ? <Reported {...given} /> : <Reporting {...given} sent={() => setSent(true)} />}
    </div>
  );
}

function Reporting({ session, peer, about, message, done, sent }: ReportGiven & { sent: () => void }) {
  const [reason, setReason] = useState("spam");
  const [text, setText] = useState("");
  const [isBusy, setBusy] = useState(false);
  const report = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    const isSent = await session.safety.report(peer, message, reason, text.trim());
    setBusy(false);
    if (isSent) sent();
  };
  return (
    <form onSubmit={(event) => void report(event)}>
      <label>
        {message === undefined ? `What is wrong with ${about}?` : "What is wrong with this message?"}
        <select value={reason} onChange={(event) => setReason(event.currentTarget.value)}>
          {Object.entries(REASONS).map(([code, name]) => (
            <option key={code} value={code}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        More about it, if you like
        <input value={text} maxLength={TEXT_MAX} autocomplete="off" onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <button class="primary" disabled={isBusy}>
        Report
      </button>{" "}
      <button type="button" class="link" onClick={done}>
        Cancel
      </button>
    </form>
  );
}

function Reported({ session, about, done }: ReportGiven) {
  const block = () => {
    done();
    void session.safety.block(about);
  };
  return (
    <>
      <p role="status">Thank you. The moderators have it now, and {about} is not told.</p>
      <button class="primary" onClick={done}>
        Done
      </button>{" "}
      {!session.safety.isBlocked(about) && (
        <button class="second" onClick={block}>
          Block {about}
        </button>
      )}
    </>
  );
}

/** Stands where the field to write in would be, while somebody asks to write. */
export function Asked({ session, chat, report }: Given & { report: () => void }) {
  const { peer } = chat;
  return (
    <div class="no-composer asked" role="group" aria-label="Request">
      <p>You have never written to {peer}, who does not learn that you read this.</p>
      <button class="primary" onClick={() => session.set(chat, { accepted: true }, "accepted")}>
        Accept
      </button>
      <button class="second" onClick={() => void session.safety.block(peer)}>
        Block
      </button>
      <button class="second" onClick={report}>
        Report
      </button>
    </div>
  );
}

/** Stands there while the other user is blocked. */
export function Blocked({ session, chat }: Given) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (document.activeElement === document.body) button.current?.focus(); // what was pressed is gone
  }, []);
  return (
    <p class="no-composer">
      You have blocked {chat.peer}, who cannot write to you.{" "}
      <button class="link" ref={button} onClick={() => void session.safety.unblock(chat.peer)}>
        Unblock
      </button>
    </p>
  );
}
