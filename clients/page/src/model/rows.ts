import type { Conversation } from "./conversation";
import type { Hole, Message, Outgoing, Tick } from "./message";

const GROUP_MS = 5 * 60_000;

/** One line of a chat as it is shown. */
export type Row =
  | { readonly kind: "day"; readonly key: string; readonly at: Date }
  | { readonly kind: "new"; readonly key: "new" }
  | { readonly kind: "hole"; readonly key: string }
  | { readonly kind: "note"; readonly key: string; readonly text: string; readonly at: Date }
  | Said;

export interface Said {
  readonly kind: "said";
  readonly key: string;
  readonly from: string;
  readonly text: string | undefined;
  /** The names of files that wait to be sent. */
  readonly waitingFiles: readonly string[];
  readonly at: Date;
  readonly mine: boolean;
  readonly tick: Tick | undefined;
  readonly why: string | undefined;
  /** Undefined while it waits for its answer. */
  readonly message: Message | undefined;
  /** What it answers, if that is here. */
  readonly quoted: Message | undefined;
  /** Whether it is the first or the last of a group: one person within some minutes. */
  readonly first: boolean;
  readonly last: boolean;
}

/** Return the lines of a chat, oldest first. */
export function rowsOf(chat: Conversation): Row[] {
  const rows: Row[] = [];
  const holes = [...chat.holes].sort((a, b) => (a.firstId < b.firstId ? -1 : 1));
  for (const message of chat.messages) {
    while (holes[0] && holes[0].firstId <= message.id) rows.push(holeRow(holes.shift()!));
    separate(rows, message.at);
    if (message.id === chat.newFrom) rows.push({ kind: "new", key: "new" });
    if (message.note === undefined) rows.push(said(chat, message));
    else if (message.note) rows.push({ kind: "note", key: `${message.id}`, text: message.note, at: message.at });
  }
  rows.push(...holes.map(holeRow));
  for (const each of chat.outgoing) {
    separate(rows, each.at);
    rows.push(waiting(chat, each));
  }
  return grouped(rows);
}

function holeRow(hole: Hole): Row {
  return { kind: "hole", key: `hole ${hole.firstId}` };
}

function separate(rows: Row[], at: Date): void {
  const before = rows.findLast((row) => "at" in row)?.at;
  if (before?.toDateString() !== at.toDateString()) {
    rows.push({ kind: "day", key: `day ${at.toDateString()}`, at });
  }
}

function said(chat: Conversation, message: Message): Said {
  return {
    kind: "said",
    key: String(message.id),
    from: message.from,
    text: message.text,
    waitingFiles: [],
    at: message.at,
    mine: message.from === chat.me,
    tick: chat.tick(message),
    why: undefined,
    message,
    quoted: quotedBy(chat, message),
    first: false,
    last: false,
  };
}

function waiting(chat: Conversation, each: Outgoing): Said {
  return {
    kind: "said",
    key: each.key,
    from: chat.me,
    text: each.text,
    waitingFiles: (each.files ?? []).map(({ name }) => name),
    at: each.at,
    mine: true,
    tick: each.why === undefined ? "waiting" : "refused",
    why: each.why,
    message: undefined,
    quoted: quotedBy(chat, each),
    first: false,
    last: false,
  };
}

function quotedBy(chat: Conversation, { replyTo }: Message | Outgoing): Message | undefined {
  return replyTo === undefined ? undefined : (chat.get(replyTo) ?? chat.quoted.get(replyTo));
}

function grouped(rows: Row[]): Row[] {
  return rows.map((row, index) => {
    if (row.kind !== "said") return row;
    return { ...row, first: !belong(rows[index - 1], row), last: !belong(row, rows[index + 1]) };
  });
}

function belong(a: Row | undefined, b: Row | undefined): boolean {
  if (a?.kind !== "said" || b?.kind !== "said") return false;
  return a.from === b.from && b.at.getTime() - a.at.getTime() < GROUP_MS;
}
