/**
 * What becomes of one message by all changes of it, in whatever order they come: of each thing that can be changed, the change with the
 * highest id counts. The twin of `domain/changes/changes.py`; both pass `conformance/changes.json`.
 */

import type { Event, Mention } from "./gen/cecochat/v1/events_pb.js";

/** How many emoji of one user count on one message, those that were taken back among them. */
export const EMOJI_MAX = 16;

/** What a message is now. */
export interface Current {
  /** Empty if it is deleted. */
  text: string;
  mentions: Mention[];
  /** The edit that gave it this text; 0n: it has its first text. */
  revisionId: bigint;
  /** 0n: it is not deleted. */
  deletionId: bigint;
  /** Emoji to user ids, both in the order of their ids. */
  reactions: Map<string, string[]>;
}

function keyOf({ userId, body }: Event): string | undefined {
  switch (body.case) {
    case "edit":
      return body.value.text ? `edit ${userId}` : undefined; // without its text since the message is deleted
    case "deletion":
      return body.value.asAdmin ? "deletion" : `deletion ${userId}`;
    case "reaction":
      return `reaction ${userId} ${body.value.emoji}`;
  }
  return undefined;
}

/** The changes of one message that count. The message itself may come before or after them. */
export class Changes {
  readonly #standing = new Map<string, Event>();

  constructor(events: Iterable<Event> = []) {
    for (const event of events) this.add(event);
  }

  /** Take in a change of this message. Returns whether anything is different now. */
  add(event: Event): boolean {
    const key = keyOf(event);
    if (event.body.case === "edit" && (event.body.value.erased || event.body.value.expired))
      return false;
    if (key === undefined || event.id <= (this.#standing.get(key)?.id ?? 0n)) return false;
    this.#standing.set(key, event);
    this.#bound(`reaction ${event.userId} `);
    return this.#standing.has(key);
  }

  /** Keep the newest reactions of a user. */
  #bound(prefix: string): void {
    const ofUser = [...this.#standing].filter(([key]) => key.startsWith(prefix));
    ofUser.sort(([, a], [, b]) => inOrder(b, a));
    for (const [key] of ofUser.slice(EMOJI_MAX)) this.#standing.delete(key);
  }

  /** What the message is now. What others did who may not do that does not count. */
  of(message: Event): Current {
    const deletions = ["deletion", `deletion ${message.userId}`].map(
      (key) => this.#standing.get(key)?.id ?? 0n,
    );
    const deletionId = deletions[0]! > deletions[1]! ? deletions[0]! : deletions[1]!;
    if (deletionId)
      return { text: "", mentions: [], revisionId: 0n, deletionId, reactions: new Map() };
    const edit = this.#standing.get(`edit ${message.userId}`);
    const { body } = edit ?? message;
    const said =
      body.case === "message" || body.case === "edit" ? body.value : { text: "", mentions: [] };
    const { text, mentions } = said;
    return { text, mentions, revisionId: edit?.id ?? 0n, deletionId, reactions: this.#byEmoji() };
  }

  /** The reactions that are not taken back, in the order of their ids. */
  reactions(): Event[] {
    const isOne = ({ body }: Event): boolean => body.case === "reaction" && !body.value.removed;
    return [...this.#standing.values()].filter(isOne).sort(inOrder);
  }

  #byEmoji(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const { userId, body } of this.reactions()) {
      if (body.case !== "reaction") continue;
      found.set(body.value.emoji, [...(found.get(body.value.emoji) ?? []), userId]);
    }
    return found;
  }
}

function inOrder(a: Event, b: Event): number {
  return a.id < b.id ? -1 : Number(a.id > b.id);
}
