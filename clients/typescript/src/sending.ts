/** Takes sends of the application, in order, and holds them back while too many are unanswered. */

import { type Init, create } from "./codec.js";
import { type ChatError, closed, invalid } from "./errors.js";
import { type Message, textOf } from "./events.js";
import type { Send } from "./gen/cecochat/v1/messaging_pb.js";
import { SendSchema } from "./gen/schemas.js";
import type { LocalDevice } from "./local.js";

const UNANSWERED_MAX = 1_000; // sends that may wait for their acknowledgement
const SEND_HEAD_BYTES = 1 << 10; // above what a send has besides its text

/** A message that is queued: it has not been acknowledged yet. */
export interface Queued {
  chatId: string;
  text: string;
  clientMessageId: string;
}

/** What an application sends: a message, a change of one or of a group, or settings of a chat. */
export type Body = Extract<
  NonNullable<Init<Send>["body"]>,
  { case: "message" | "edit" | "deletion" | "reaction" | "membership" | "settings" }
>;

/** What is to be sent, and under which id. */
export interface Posted {
  chatId: string;
  body: Body;
  clientMessageId: string;
}

export class Sending {
  private readonly seen = new Map<string, bigint>(); // chat id -> highest id that was read
  private roomMade: (() => void)[] = [];
  private inOrder: Promise<unknown> = Promise.resolve();
  private waiting = 0; // sends that are not queued yet
  private ended: ChatError | undefined;

  constructor(
    private readonly local: LocalDevice,
    /** Returns the newest messages of a chat as they were sent. */
    private readonly recent: (chatId: string) => Promise<Message[]>,
    /** Makes what was queued durable. */
    private readonly keep: () => void,
  ) {}

  /** Queue a send. With `again`, it may have been sent before: a message is looked for first. */
  async send(posted: Posted, again: boolean): Promise<bigint> {
    this.checkSize((posted.body.value as { text?: string }).text ?? "");
    const hasRoom = this.hasRoom(posted.clientMessageId);
    if (!again && !this.waiting && hasRoom) return this.submit(posted);
    this.waiting++;
    const submitting = this.inOrder.then(() => this.later(posted, again));
    this.inOrder = submitting.catch(() => {}).finally(() => this.waiting--);
    return (await submitting).answer;
  }

  /** Return the messages of a chat that are queued, oldest first. */
  queued(chatId: string): Queued[] {
    const sends = [...this.local.progress.live.outbox.values()].filter(
      (send) => send.chatId === chatId && send.body.case === "message",
    );
    return sends.map((send) => {
      return { chatId, text: textOf(send), clientMessageId: send.clientMessageId };
    });
  }

  /** Remember a message, so that what is sent to its chat from now on sorts after it. */
  note(chatId: string, messageId: bigint): void {
    if (messageId > (this.seen.get(chatId) ?? 0n)) this.seen.set(chatId, messageId);
  }

  /** Note that a send was answered. */
  answered(): void {
    this.roomMade.splice(0).forEach((made) => made());
  }

  /** Take no more sends. */
  end(error: ChatError | undefined): void {
    this.ended = error ?? closed();
    this.answered();
  }

  private async later(posted: Posted, again: boolean): Promise<{ answer: Promise<bigint> }> {
    const known = again ? await this.sentBefore(posted) : undefined;
    if (known) return { answer: Promise.resolve(known.id) };
    while (!this.ended && !this.hasRoom(posted.clientMessageId)) {
      await new Promise<void>((resolve) => this.roomMade.push(resolve));
    }
    return { answer: this.submit(posted) };
  }

  private submit({ chatId, body, clientMessageId }: Posted): Promise<bigint> {
    if (this.ended) throw this.ended;
    const seenId = this.seen.get(chatId) ?? 0n;
    const send = create(SendSchema, { clientMessageId, chatId, seenId, body });
    const answer = this.local.submit(send);
    this.keep();
    return answer;
  }

  /**
   * Return an own message that was accepted. The server need not know any more what lies below the
   * position, and could take it for a new one. A change that is made twice changes nothing more.
   */
  private async sentBefore(posted: Posted): Promise<Message | undefined> {
    const { chatId, body, clientMessageId } = posted;
    if (body.case !== "message") return undefined;
    const { text } = body.value;
    return (await this.recent(chatId)).find(
      (each) =>
        each.userId === this.local.userId &&
        each.clientMessageId === clientMessageId &&
        each.text === text,
    );
  }

  private hasRoom(clientMessageId: string): boolean {
    const { outbox } = this.local.progress.live;
    return outbox.size < UNANSWERED_MAX || outbox.has(clientMessageId);
  }

  /**
   * Refuse a text that no server takes: it would end every session. A limit that leaves no room for
   * any text counts as not said.
   */
  private checkSize(text: string): void {
    const size = new TextEncoder().encode(text).length;
    const said = this.local.welcome?.limits?.frameMaxBytes ?? 0;
    const max = (said > SEND_HEAD_BYTES ? said : 64 << 10) - SEND_HEAD_BYTES;
    if (size > max) throw invalid(`text has ${size} bytes, and no server takes more than ${max}`);
  }
}
