/** What is in a chat: messages, and what was written here and has no answer yet. */

import type { Attached } from "./files";

export interface Message {
  readonly id: bigint;
  readonly from: string;
  /** Undefined if only the content of the message is lost. */
  readonly text: string | undefined;
  readonly at: Date;
  /** What has changed in a group, in words: then this is no message. */
  readonly note?: string;
  /** What its sender called it. */
  readonly key: string;
  /** The message that it answers. */
  readonly replyTo?: bigint | undefined;
  /** Its text mentions this user. */
  readonly mentionsMe?: boolean;
  /** The edit or the deletion that made it what it is. */
  readonly changeId?: bigint | undefined;
  readonly edited?: boolean;
  readonly deleted?: boolean;
  /** It is gone because its sender was erased. */
  readonly erased?: boolean;
  /** It is gone because its chat does not keep it any more. */
  readonly expired?: boolean;
  readonly reactions?: readonly Reaction[];
  readonly files?: readonly Attached[];
}

/** What is shown in place of a message that is gone. */
export function goneInWords({ erased, expired }: Message): string {
  if (expired) return "An expired message";
  return erased ? "An erased message" : "A deleted message";
}

/** What a screen reader says of a message that comes. */
export function spoken({ note, from, text }: Message): string {
  return note ?? `${from}: ${text ?? "a message whose content is lost"}`;
}

export interface Reaction {
  readonly emoji: string;
  readonly from: string;
}

export interface Outgoing {
  readonly key: string;
  readonly text: string;
  readonly at: Date;
  readonly replyTo?: bigint | undefined;
  readonly files?: readonly File[];
  /** Why it was refused; undefined while it waits for its answer. */
  readonly why?: string;
}

/** A stretch of a chat in which messages may be missing for good. */
export interface Hole {
  readonly firstId: bigint;
  readonly lastId: bigint;
}

/** How far the other user has come with a chat. */
export interface Marks {
  readonly deliveredUpTo: bigint;
  readonly readUpTo: bigint;
}

export type Tick = "waiting" | "refused" | "sent" | "delivered" | "read";

export const TICKS: Record<Tick, string> = {
  waiting: "Waiting to be sent",
  refused: "Not sent",
  sent: "Sent",
  delivered: "Delivered",
  read: "Read",
};

/** How another user is. Without `lastSeen`: online, hidden, or not known. */
export interface Presence {
  readonly online: boolean;
  readonly lastSeen?: Date;
}
