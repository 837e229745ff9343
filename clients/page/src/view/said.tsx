import { Component, createRef } from "preact";

import type { Conversation } from "../model/conversation";
import { exactly, timeOf } from "../model/dates";
import { inBrief } from "../model/files";
import { pieces } from "../model/links";
import { may } from "../model/group";
import { goneInWords, type Message } from "../model/message";
import type { Said } from "../model/rows";
import type { Session } from "../session";
import { Files, Waiting } from "./files";
import { Icon, TickMark } from "./icons";
import { ReportForm } from "./safety";

interface Given {
  readonly row: Said;
  readonly chat: Conversation;
  readonly session: Session;
  readonly onRetry: (key: string) => void;
  readonly onDrop: (key: string) => void;
}

const OFFERED = ["👍", "❤️", "😂", "😮", "😢", "🙏"];

/** What is shown beside a message: what can be done with it, or the form that reports it. */
type Beside = "acts" | "report" | undefined;

/** One message. It is drawn anew only if something of it has changed. */
export class SaidLine extends Component<Given, { open: Beside }> {
  override state: { open: Beside } = { open: undefined };
  private readonly line = createRef<HTMLLIElement>();

  override shouldComponentUpdate({ row }: Given, { open }: { open: Beside }): boolean {
    const now = this.props.row;
    const fields = ["tick", "first", "last", "why", "message", "quoted"] as const;
    const isReported = open === "report"; // the form shows what becomes of it
    return isReported || open !== this.state.open || fields.some((each) => row[each] !== now[each]);
  }

  private readonly leave = (event?: Event): void => {
    event?.stopPropagation();
    this.setState({ open: undefined });
    this.line.current?.querySelector<HTMLElement>(".more")?.focus();
  };

  override render({ row, chat, session, onRetry, onDrop }: Given, { open }: { open: Beside }) {
    const shape = `said ${row.mine ? "mine" : "theirs"}${row.first ? " first" : ""}${row.last ? " last" : ""}`;
    const { message } = row;
    const show = (what: Beside) => this.setState({ open: what });
    return (
      <li class={shape} ref={this.line} onKeyDown={(event) => open && event.key === "Escape" && this.leave(event)}>
        {chat.isGroup && row.first && !row.mine && (
          <span class="who" aria-hidden="true">
            {row.from}
          </span>
        )}
        <span class="unseen">{`${row.mine ? "You" : row.from}, ${timeOf(row.at)}:`}</span>
        <div class="line">
          <div class={`bubble ${row.tick ?? ""}`} title={exactly(row.at)}>
            {row.quoted && <Quote message={row.quoted} />}
            {message?.deleted ? <em>This message was {message.erased ? "erased" : "deleted"}</em> : <Content row={row} session={session} />}
          </div>
          {message && !message.deleted && message.text !== undefined && (
            <button
              class="more quiet-button"
              tabIndex={-1}
              aria-label="What to do with this message"
              aria-expanded={open !== undefined}
              onClick={() => show(open ? undefined : "acts")}
            >
              <Icon name="more" />
            </button>
          )}
        </div>
        {open === "acts" && message && <Acts message={message} chat={chat} session={session} show={show} />}
        {open === "report" && message && (
          <ReportForm session={session} peer={chat.peer} about={message.from} message={message.id} done={this.leave} />
        )}
        {message && <Reactions message={message} chat={chat} session={session} />}
        {row.why !== undefined && (
          <div class="refusal">
            <span>Not sent: {row.why}</span>
            <button onClick={() => onRetry(row.key)}>Try again</button>
            <button onClick={() => onDrop(row.key)}>Delete</button>
          </div>
        )}
        {(row.last || row.tick === "waiting" || message?.edited) && row.why === undefined && <Meta row={row} />}
      </li>
    );
  }
}

interface About {
  readonly message: Message;
  readonly chat: Conversation;
  readonly session: Session;
}

function Acts({ message, chat, session, show }: About & { show: (what: Beside) => void }) {
  const act = (what: () => void) => () => {
    show(undefined);
    what();
  };
  const isMine = message.from === session.me;
  return (
    <div class="acts" role="group" aria-label="Actions">
      {OFFERED.map((emoji) => (
        <button key={emoji} aria-label={`React with ${emoji}`} onClick={act(() => session.react(chat, message, emoji))}>
          {emoji}
        </button>
      ))}
      {chat.canWrite && <button onClick={act(() => session.compose({ act: "reply", message }))}>Reply</button>}
      {chat.canWrite && isMine && <button onClick={act(() => session.compose({ act: "edit", message }))}>Edit</button>}
      {(isMine || may(chat.group, "moderate")) && <button onClick={act(() => session.remove(chat, message))}>Delete</button>}
      {!isMine && <button onClick={() => show("report")}>Report</button>}
    </div>
  );
}

function Reactions({ message, chat, session }: About) {
  const byEmoji = new Map<string, string[]>();
  for (const { emoji, from } of message.reactions ?? []) {
    byEmoji.set(emoji, [...(byEmoji.get(emoji) ?? []), from]);
  }
  if (byEmoji.size === 0) return null;
  return (
    <div class="reactions">
      {[...byEmoji].map(([emoji, users]) => (
        <button
          key={emoji}
          title={users.join(", ")}
          aria-label={`${emoji} from ${users.join(", ")}`}
          aria-pressed={users.includes(session.me)}
          onClick={() => session.react(chat, message, emoji)}
        >
          {emoji} {users.length > 1 && users.length}
        </button>
      ))}
    </div>
  );
}

function Quote({ message }: { message: Message }) {
  return (
    <blockquote dir="auto">
      <b>{message.from}</b> {message.deleted ? goneInWords(message) : message.text === undefined ? "" : inBrief(message.text, message.files)}
    </blockquote>
  );
}

function Content({ row, session }: { row: Said; session: Session }) {
  const { message, waitingFiles } = row;
  const hasFiles = waitingFiles.length > 0 || !!message?.files?.length;
  return (
    <>
      {message && <Files message={message} session={session} />}
      <Waiting names={waitingFiles} />
      {(row.text !== "" || !hasFiles) && <Text text={row.text} />}
    </>
  );
}

function Text({ text }: { text: string | undefined }) {
  if (text === undefined) return <em>The content of this message is lost</em>;
  return (
    <p dir="auto" class={onlyEmoji(text) ? "large" : undefined}>
      {pieces(text).map((piece) =>
        piece.url === undefined ? (
          piece.text
        ) : (
          <a href={piece.url} target="_blank" rel="noopener noreferrer nofollow">
            {piece.text}
          </a>
        ),
      )}
    </p>
  );
}

function Meta({ row }: { row: Said }) {
  return (
    <div class="meta">
      {row.message?.edited && <span>edited</span>}
      <time dateTime={row.at.toISOString()}>{timeOf(row.at)}</time>
      {row.tick && <TickMark tick={row.tick} />}
    </div>
  );
}

const EMOJI = /^(?:[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{RI}\u200d\ufe0f]|\s)+$/u;

function onlyEmoji(text: string): boolean {
  return text.length < 40 && EMOJI.test(text);
}
