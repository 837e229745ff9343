/** Keeps messages as they are now, for an application that shows them. */

import { Changes } from "./changes.js";
import { create } from "./codec.js";
import { type Change, type Message, changeOf, mentionOf } from "./events.js";
import type { Event } from "./gen/cecochat/v1/events_pb.js";
import { EventSchema } from "./gen/schemas.js";
import { timeOf } from "./ids.js";

/**
 * Messages, each as it is after all changes that were added, in whatever order they come:
 *
 *     const timeline = new Timeline();
 *     client.on("message", (message) => show(timeline.add(message)));
 *     client.on("change", (change) => show(timeline.change(change)));
 *
 * It keeps all messages that are added. One that comes again without its text, since its sender was erased, has none from then on.
 */
export class Timeline {
  private readonly said = new Map<bigint, Message>();
  private readonly changes = new Map<bigint, Changes>();

  /** Take in a message. Returns it as it is now. */
  add(message: Message): Message {
    const { id } = message;
    if (isGone(message) || !this.said.has(id)) this.said.set(id, message);
    for (const change of changesIn(message)) this.of(id).add(eventOf(change));
    return this.get(id)!;
  }

  /** Take in a change. Returns the message as it is now, if it was added and is different now. */
  change(change: Change): Message | undefined {
    const isNew = this.of(change.messageId).add(eventOf(change));
    return isNew ? this.get(change.messageId) : undefined;
  }

  /** Return a message as it is now. */
  get(id: bigint): Message | undefined {
    const message = this.said.get(id);
    return message && current(message, this.of(id));
  }

  private of(id: bigint): Changes {
    const changes = this.changes.get(id) ?? new Changes();
    this.changes.set(id, changes);
    return changes;
  }
}

function isGone({ erased, expired }: Message): boolean {
  return !!erased || !!expired;
}

function current(message: Message, changes: Changes): Message {
  const { reactions: _, mentions: __, attachments, ...rest } = message;
  const now = changes.of(eventOf({ ...message, kind: "message" }));
  const reactions = now.deletionId ? [] : changes.reactions().map((event) => changeOf(event)!);
  if (isGone(message)) return { ...rest, text: "", ...(reactions.length && { reactions }) };
  return {
    ...rest,
    text: now.text,
    ...(attachments && !now.deletionId && { attachments }),
    ...(now.mentions.length && { mentions: now.mentions.map(mentionOf) }),
    ...(now.revisionId && { revisionId: now.revisionId }),
    ...(now.deletionId && { deletionId: now.deletionId }),
    ...(reactions.length && { reactions }),
  };
}

/** The changes that the history has folded into a message. */
function changesIn(message: Message): Change[] {
  const {
    id: messageId,
    chatId,
    userId,
    text,
    mentions,
    revisionId,
    deletionId,
    reactions,
  } = message;
  const [place, named] = [{ chatId, userId, messageId }, mentions && { mentions }];
  return [
    ...(revisionId ? [{ ...place, id: revisionId, kind: "edit" as const, text, ...named }] : []),
    ...(deletionId ? [{ ...place, id: deletionId, kind: "deletion" as const, asAdmin: true }] : []),
    ...(reactions ?? []),
  ];
}

/** A change as it is stored among messages, at the place of its own id. It has to fit into JSON. */
interface StoredChange extends Message {
  change: Omit<Change, "id" | "chatId" | "userId" | "messageId"> & { messageId: string };
}

/** Return what stands for a change among the messages that are stored. */
export function storedChange({ id, chatId, userId, messageId, ...rest }: Change): Message {
  const change = { ...rest, messageId: `${messageId}` };
  const place = { id, chatId, userId, text: "", clientMessageId: "", sentAt: timeOf(id) };
  return { ...place, change } as StoredChange;
}

/** Return the messages among what is stored, each as it is after the changes among it. */
export function asTheyAre(stored: Message[]): Message[] {
  const timeline = new Timeline();
  const messages = stored.filter((each) => !("change" in each));
  messages.forEach((message) => timeline.add(message));
  for (const { id, chatId, userId, change } of stored as StoredChange[]) {
    if (!change) continue;
    timeline.change({ ...change, id, chatId, userId, messageId: BigInt(change.messageId) });
  }
  return messages.map(({ id }) => timeline.get(id)!);
}

type Said = Omit<Change, "kind" | "messageId"> & { kind: "message" };

function eventOf(what: Change | Said): Event {
  const { id, chatId, userId, kind, ...value } = what;
  const body = { case: kind, value } as never;
  return create(EventSchema, { id, chatId, userId, body });
}
