/** The device of this program: what has arrived, which sends are unanswered, and what to write. */

import { ClientFrameSchema, EventSchema, ReadTokenSchema, SendSchema } from "./gen/schemas.js";
import { create, toBinary } from "./codec.js";
import type { Device, Happening } from "./device.js";
import { ChatError, SendRejected, rejected, reusedId } from "./errors.js";
import { type Message, type Occurrence, occurrenceOf, sentOf, textOf } from "./events.js";
import type { Event } from "./gen/cecochat/v1/events_pb.js";
import type {
  Ack,
  ClientFrame,
  Delivered,
  ReadToken,
  Send,
  ServerItem,
  Welcome,
} from "./gen/cecochat/v1/messaging_pb.js";
import { isGroup, partitionIn } from "./ids.js";
import { Marks } from "./marks.js";
import { newId } from "./newid.js";
import { storedChange } from "./timeline.js";
import { Progress, type Step, type Taker } from "./progress.js";
import { Signals } from "./signals.js";

interface Answer {
  promise: Promise<bigint>;
  resolve(id: bigint): void;
  reject(error: ChatError): void;
}

/** What the local device calls. */
export interface Owner extends Omit<Taker, "taken"> {
  /** Note that there is something to write. */
  toWrite(): void;
  /** Note that there are receipts to send. */
  toTell(): void;
  /** Hand a signal to the listeners. It does not matter whether they take it. */
  signalled(occurrence: Occurrence): void;
  /** Note a message, or what stands for a change, that was taken, to be kept with the position. */
  keepMessage(message: Message): void;
}

/** The state of a client, without any I/O. A session feeds it with items and writes its frames. */
export class LocalDevice {
  readonly progress: Progress;
  readonly marks = new Marks();
  readonly signals: Signals;
  /** Chat id of a group -> the last change of it that came. */
  readonly groupChanges = new Map<string, bigint>();
  welcome: Welcome | undefined;
  private readonly answers = new Map<string, Answer>();
  private toRead = create(ReadTokenSchema); // up to where the history has to be
  private renewedToken = "";

  constructor(
    device: Device,
    private readonly owner: Owner,
    private readonly receipts: boolean,
    invisible = false,
  ) {
    const { take, changed, drained, failed } = owner;
    this.signals = new Signals(owner.signalled, owner.toWrite, invisible);
    this.progress = new Progress(device, { take, changed, drained, failed, taken: this.taken });
  }

  get userId(): string {
    return this.progress.live.userId;
  }

  // -- towards the server

  /**
   * Queue a send, unless it is queued already. The promise gives its message id. Throws `reused_id`
   * if what is queued under its id differs.
   */
  submit(send: Send): Promise<bigint> {
    const id = send.clientMessageId;
    const queued = this.progress.live.outbox.get(id);
    if (queued && !isSame(queued, send)) throw reusedId(id);
    if (!queued) {
      this.progress.submit(send);
      this.signals.sent(send.chatId);
      this.owner.toWrite();
    }
    const answer = this.answers.get(id) ?? newAnswer();
    this.answers.set(id, answer);
    return answer.promise;
  }

  /** Queue the receipts that are due. */
  tellMarks(): void {
    for (const [chatId, value] of this.marks.take()) {
      const body = { case: "receipt", value } as const;
      this.progress.submit(create(SendSchema, { clientMessageId: newId(), chatId, body }));
      this.owner.toWrite();
    }
  }

  /** Have the server told about a new token. */
  renew(token: string): void {
    this.renewedToken = token;
    this.owner.toWrite();
  }

  /** Return the first frame of a new connection. */
  hello(label: string, token: string): Uint8Array {
    if (this.progress.overrun) this.progress.backToDealt();
    const frame = this.step((device) => device.hello(label));
    const hello = { ...frame.hello!, token };
    return toBinary(ClientFrameSchema, { ...frame, hello, ...this.signals.hello() });
  }

  /** Return the next frame to write now, if there is one. */
  nextFrame(): ClientFrame | undefined {
    const { live } = this.progress;
    if (this.renewedToken) {
      const [renewedToken, offset] = [this.renewedToken, live.position?.offset ?? -1n];
      this.renewedToken = "";
      return create(ClientFrameSchema, { offset, renewedToken });
    }
    const signals = live.caughtUp ? this.signals.outgoing() : undefined;
    return signals ?? live.outgoing(Math.max(this.welcome?.limits?.sendsPerFrameMax ?? 1, 1));
  }

  // -- from the server

  /** Take the next item of the stream. Return what it means for the stream, if anything. */
  receive(each: ServerItem): Happening | undefined {
    const { item } = each;
    if (this.signals.receive(each)) return undefined; // no part of what is kept
    if (item.case === "welcome") this.welcomed(item.value);
    if (item.case === "ack") this.noteAccepted(item.value);
    if (item.case === "delivered" && item.value.event?.userId === this.userId) {
      this.noteAccepted(item.value);
    }
    const size = item.case === "delivered" ? textSize(item.value.event) : 0;
    return this.step((device) => device.receive(each), size);
  }

  /** Take an event from the history, while a gap is being filled. */
  fill(event: Event): void {
    this.step((device) => device.fill(event), textSize(event));
  }

  /** Note that the gap has been filled. */
  filled(): void {
    this.step((device) => device.filled());
  }

  /** Tell the listeners about something that does not change the device. */
  tell(occurrence: Occurrence): void {
    this.progress.told(undefined, occurrence);
  }

  private step<T>(step: Step<T>, size = 0): T {
    const result = step(this.progress.live);
    this.progress.told(step, this.occurrence(result), size);
    return result;
  }

  private occurrence(result: unknown): Occurrence | undefined {
    const happening = result as Happening | undefined;
    switch (happening?.kind) {
      case "received": {
        const { id, chatId, body } = happening.event;
        if (body.case === "membership") this.groupChanges.set(chatId, id);
        return occurrenceOf(happening.event);
      }
      case "sent":
        return this.sent(happening.send, happening.messageId);
      case "rejected": {
        const { send, error } = happening;
        return send && this.rejected(send, rejected(send.clientMessageId, error));
      }
      case "caughtUp":
        this.signals.begin(this.welcome);
        this.owner.toWrite();
        return { name: "caughtup", value: { serverId: this.welcome?.serverId ?? "" } };
    }
    return undefined;
  }

  private sent(send: Send, id: bigint): Occurrence | undefined {
    if (send.body.case === "receipt") return this.receiptAnswered(send.chatId);
    this.answers.get(send.clientMessageId)?.resolve(id);
    this.answers.delete(send.clientMessageId);
    return sentOf(this.userId, send, id);
  }

  private rejected(send: Send, error: SendRejected): Occurrence | undefined {
    const { clientMessageId, chatId } = send;
    this.progress.forget(clientMessageId);
    if (send.body.case === "receipt") return this.receiptAnswered(chatId);
    this.answers.get(clientMessageId)?.reject(error);
    this.answers.delete(clientMessageId);
    return { name: "rejected", value: { chatId, clientMessageId, text: textOf(send), error } };
  }

  private receiptAnswered(chatId: string): undefined {
    if (this.marks.answered(chatId)) this.owner.toTell();
  }

  // -- towards the application

  private readonly taken = ({ name, value }: Occurrence): void => {
    if (name === "change") this.owner.keepMessage(storedChange(value));
    if (name !== "message" && name !== "sent") return;
    this.owner.keepMessage(value);
    const isTold = this.receipts && !isGroup(value.chatId); // else everybody would tell everybody
    if (value.userId !== this.userId && isTold) {
      this.marks.note(value.chatId, "deliveredUpTo", value.id);
      this.owner.toTell();
    }
  };

  /** Note that a person has read a chat up to a message. */
  read(chatId: string, messageId: bigint): void {
    this.marks.note(chatId, "readUpTo", messageId);
    this.owner.toTell();
  }

  private welcomed(welcome: Welcome): void {
    this.welcome = welcome;
    const logId = welcome.position?.logId ?? "";
    if (logId !== this.toRead.logId) this.toRead = create(ReadTokenSchema, { logId });
    const { offsets = {}, clocks = {} } = welcome.token ?? {};
    for (const [partition, offset] of Object.entries(offsets)) {
      this.raise(Number(partition), offset, clocks[Number(partition)] ?? 0n);
    }
  }

  /** Raise the read token to this item. A repeated send is acknowledged at its old place. */
  private noteAccepted(accepted: Ack | Delivered): void {
    const { homeOffset, homeClockMs = 0n, messageId = 0n } = accepted as Partial<Ack>;
    if (homeOffset) return this.raise(partitionIn(messageId), homeOffset, homeClockMs);
    const here = this.welcome?.position;
    if (here) this.raise(here.partition, accepted.offset, accepted.clockMs);
  }

  private raise(partition: number, offset: bigint, clockMs: bigint): void {
    const { offsets, clocks } = this.toRead;
    const [last = -1n, lastMs = 0n] = [offsets[partition], clocks[partition]];
    const isLater = clockMs && lastMs && clockMs !== lastMs ? clockMs > lastMs : offset > last;
    if (isLater) [offsets[partition], clocks[partition]] = [offset, clockMs];
  }

  /**
   * Return the token with which the history has what was accepted before this session began, and
   * every own message that was accepted since.
   */
  readToken(): ReadToken | undefined {
    return Object.keys(this.toRead.offsets).length ? this.toRead : undefined;
  }

  /** End the device: nothing more will come, and the sends that wait fail with `error`. */
  end(error: ChatError): void {
    this.progress.end();
    this.signals.end();
    for (const answer of this.answers.values()) answer.reject(error);
    this.answers.clear();
  }
}

function isSame(a: Send, b: Send): boolean {
  const [sendA, sendB] = [a, b].map(({ chatId, body }) =>
    create(SendSchema, { chatId, body: body as never }),
  );
  return `${toBinary(SendSchema, sendA!)}` === `${toBinary(SendSchema, sendB!)}`;
}

function newAnswer(): Answer {
  let [resolve, reject]: [Answer["resolve"], Answer["reject"]] = [() => {}, () => {}];
  const promise = new Promise<bigint>((yes, no) => ([resolve, reject] = [yes, no]));
  promise.catch(() => {}); // whoever called `send` hears of it
  return { promise, resolve, reject };
}

function textSize(event: Event | undefined): number {
  return event ? toBinary(EventSchema, event).length : 0;
}
