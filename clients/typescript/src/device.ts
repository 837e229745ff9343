/**
 * One device of a user: its position, its unanswered sends and what it has shown, and how it
 * answers the server.
 *
 * It does no I/O: a transport feeds the server's items in, in order, and writes the frames that
 * come out. `services/cecochat/domain/device/device.py` is the same class in Python.
 */

import { ClientFrameSchema, PositionSchema, SendSchema } from "./gen/schemas.js";
import { create, toBinary } from "./codec.js";
import type { Error as ServerError } from "./gen/cecochat/v1/errors_pb.js";
import type { Event } from "./gen/cecochat/v1/events_pb.js";
import type {
  ClientFrame,
  Gap,
  Position,
  Send,
  ServerItem,
  Welcome,
} from "./gen/cecochat/v1/messaging_pb.js";
import { isGroup, participants, partitionIn, partitionOf as partitionOfUser } from "./ids.js";
import { type Snapshot, positionFrom, positionJson, sendFrom, sendJson } from "./snapshot.js";

const FRAME_BYTES = 60 << 10; // below the server's limit for a frame
const SEND_HEAD_BYTES = 4; // tag and length of a send in its frame

/** What an item of the server means. */
export type Happening =
  /** An event of another user, or of another device of this user. Each comes exactly once. */
  | { kind: "received"; event: Event }
  /** A send of this device is accepted for good, under this id. */
  | { kind: "sent"; send: Send; messageId: bigint }
  /** A send will never be accepted as it is. The device has to reconnect before it sends on. */
  | { kind: "rejected"; send: Send | undefined; error: ServerError | undefined }
  /** The device has everything up to now. */
  | { kind: "caughtUp" }
  /** The log no longer has everything that was missed. Fill the gap before you feed more. */
  | { kind: "gapped"; gap: Gap }
  | { kind: "tokenExpiring"; expiresInMs: bigint }
  /** The server has ended the stream. `websocket` is where to go; empty: ask connect. */
  | { kind: "disconnected"; error: ServerError | undefined; address: string; websocket: string };

type Partitioner = (userId: string, count: number) => number;

/**
 * One device. Store `snapshot()` in one piece: that each event is shown once depends on its parts
 * belonging together.
 *
 * The events of one sender in one chat come in the order of their ids. So one mark per chat and
 * sender says what was shown, whether it came from the stream or from the history. In a group, all
 * events of its home come in that order.
 */
export class Device {
  position: Position | undefined;
  /** Unanswered sends by client message id, oldest first. */
  readonly outbox = new Map<string, Send>();
  /** Chat id -> user id -> highest id shown. */
  readonly shown = new Map<string, Map<string, bigint>>();
  /** Partition of senders -> the highest id from before this device; undefined: not welcomed. */
  since: Map<number, bigint> | undefined;
  /** Of the log that `since` is about. */
  partitionCount = 1;
  caughtUp = false;
  gap: Gap | undefined;
  private unwritten: string[] = [];
  private welcome: Welcome | undefined;

  /**
   * `deviceId` has to differ from that of the user's other devices, and to stay the same. `partitionOf`
   * returns the partition of a user or a group.
   */
  constructor(
    readonly userId: string,
    readonly deviceId = "",
    private readonly partitionOf: Partitioner = partitionOfUser,
  ) {}

  // -- towards the server

  /** Return the first frame of a new connection. */
  hello(device: string): ClientFrame {
    this.caughtUp = false;
    this.gap = this.welcome = undefined;
    this.unwritten = [];
    const hello = { device, deviceId: this.deviceId };
    return create(ClientFrameSchema, {
      hello: this.position ? { ...hello, position: this.position } : hello,
    });
  }

  /**
   * Take on a send. It is written once the session has caught up, and again on every new
   * connection until it is answered.
   */
  submit(send: Send): void {
    for (const id of this.shown.get(send.chatId)?.values() ?? []) {
      if (id > send.seenId) send.seenId = id;
    }
    this.outbox.set(send.clientMessageId, send);
    if (this.caughtUp) this.unwritten.push(send.clientMessageId);
  }

  /** Return the next frame of at most `sendsMax` sends to write now, if there is one. */
  outgoing(sendsMax: number): ClientFrame | undefined {
    const frame = create(ClientFrameSchema, { offset: this.position?.offset ?? -1n });
    let size = 0;
    while (this.unwritten.length && frame.sends.length < sendsMax) {
      const send = this.outbox.get(this.unwritten[0]!);
      if (send) {
        size += toBinary(SendSchema, send).length + SEND_HEAD_BYTES;
        if (frame.sends.length && size > FRAME_BYTES) break;
        frame.sends.push(send);
      }
      this.unwritten.shift();
    }
    return frame.sends.length ? frame : undefined;
  }

  // -- from the server

  /** Take in the next item of the stream. Fill the gap first if `gap` is set. */
  receive({ item }: ServerItem): Happening | undefined {
    if (this.gap) throw new Error("fill the gap first");
    switch (item.case) {
      case "delivered":
        this.move(item.value.offset, item.value.clockMs);
        return item.value.event && this.show(item.value.event);
      case "ack":
        this.move(item.value.offset, item.value.clockMs);
        return this.answered(item.value.clientMessageId, item.value.messageId);
      case "caughtUp":
        this.move(item.value.offset, item.value.clockMs);
        return this.hasCaughtUp();
      case "welcome":
        return this.welcomed(item.value);
      case "gap":
        this.gap = item.value;
        return { kind: "gapped", gap: item.value };
      case "refused": {
        const send = this.outbox.get(item.value.clientMessageId);
        this.outbox.delete(item.value.clientMessageId); // it may have come as an event before
        return { kind: "rejected", send, error: item.value.error };
      }
      case "tokenExpiring":
        return { kind: "tokenExpiring", expiresInMs: item.value.expiresInMs };
      case "disconnect": {
        const { error, address, websocket } = item.value;
        return { kind: "disconnected", error, address, websocket };
      }
    }
    return undefined; // of a later version
  }

  private welcomed(welcome: Welcome): undefined {
    this.welcome = welcome;
    this.position ??= copied(welcome.position);
    if (!this.since) {
      this.since = upTo(welcome);
      this.partitionCount = welcome.partitionCount || 1;
    }
  }

  private hasCaughtUp(): Happening | undefined {
    if (this.caughtUp) return undefined;
    this.caughtUp = true;
    this.unwritten = this.resends();
    return { kind: "caughtUp" };
  }

  /** Return the client message ids to send again after catching up, in order. */
  resends(): string[] {
    return [...this.outbox.keys()];
  }

  private move(offset: bigint, clockMs: bigint): void {
    if (!this.position) throw new Error("a server welcomes before it delivers");
    if (offset >= this.position.offset) {
      this.position.offset = offset;
      this.position.clockMs = clockMs;
    }
  }

  /** Take in an event from the stream or the history. Return nothing if it was shown before. */
  show(event: Event): Happening | undefined {
    if (event.userId === this.userId && this.outbox.has(event.clientMessageId)) {
      return this.answered(event.clientMessageId, event.id);
    }
    const marks = this.marks(event.chatId, event.id);
    if (event.id <= (marks.get(event.userId) ?? 0n)) return undefined;
    marks.set(event.userId, event.id);
    return { kind: "received", event };
  }

  /** Take in that a send was accepted as `messageId`. Return nothing if that was known. */
  answered(clientMessageId: string, messageId: bigint): Happening | undefined {
    const send = this.outbox.get(clientMessageId);
    if (!send) return undefined;
    this.outbox.delete(clientMessageId);
    const marks = this.marks(send.chatId, messageId);
    if (messageId > (marks.get(this.userId) ?? 0n)) marks.set(this.userId, messageId);
    return { kind: "sent", send, messageId };
  }

  /**
   * Return the marks for the events that come in one order with this one. What a user sets for a
   * group is not of its home, so the rest of the group may come later with lower ids.
   */
  private marks(chatId: string, id: bigint): Map<string, bigint> {
    const partition = partitionIn(id);
    const isApart = isGroup(chatId) && partition !== this.partitionOf(chatId, this.partitionCount);
    const key = isApart ? `${chatId} ${partition}` : chatId;
    let marks = this.shown.get(key);
    if (!marks) this.shown.set(key, (marks = new Map()));
    return marks;
  }

  // -- gaps

  /**
   * Return a message id such that the chat's history above it, oldest first, has everything that
   * this device has not shown.
   */
  shownUpTo(chatId: string): bigint {
    const since = this.since ?? new Map<number, bigint>();
    const marks = this.shown.get(chatId);
    if (isGroup(chatId)) {
      const before = since.get(this.partitionOf(chatId, this.partitionCount)) ?? 0n;
      return greatest([before, ...(marks?.values() ?? [])]); // all of it comes in the order of ids
    }
    return least(
      participants(chatId).map((userId) => {
        const before = since.get(this.partitionOf(userId, this.partitionCount)) ?? 0n;
        const mark = marks?.get(userId) ?? 0n;
        return mark > before ? mark : before;
      }),
    );
  }

  /**
   * Take in an event from the history while a gap is filled. Return nothing if it was shown
   * before, if it is from before this device, or if the stream will bring it: the history may
   * have only some of those.
   */
  fill(event: Event): Happening | undefined {
    const welcome = this.inGap();
    const partition = partitionIn(event.id);
    const isNew = event.id > (this.since?.get(partition) ?? 0n);
    const isOld = event.id <= (welcome.upTo[partition] ?? 0n) || event.id < welcome.logBeganId;
    return isNew && isOld ? this.show(event) : undefined;
  }

  /** Go on with the stream, after the history was read with the gap's token and shown. */
  filled(): void {
    this.position = copied(this.inGap().position);
    this.gap = undefined;
  }

  private inGap(): Welcome {
    if (!this.gap || !this.welcome) throw new Error("there is no gap to fill");
    return this.welcome;
  }

  // -- keeping it

  /** Return all that has to survive a restart, as an object for JSON. */
  snapshot(): Snapshot {
    return {
      user_id: this.userId,
      device_id: this.deviceId,
      position: this.position ? positionJson(this.position) : null,
      outbox: [...this.outbox.values()].map(sendJson),
      shown: Object.fromEntries([...this.shown].map(([chat, marks]) => [chat, texts(marks)])),
      since: texts(this.since ?? new Map<number, bigint>()),
      partition_count: this.partitionCount,
    };
  }

  /** Return the device that this snapshot was taken of. */
  static restored(snapshot: Snapshot, partitionOf: Partitioner = partitionOfUser): Device {
    const device = new Device(snapshot.user_id, snapshot.device_id ?? "", partitionOf);
    if (snapshot.position) device.position = positionFrom(snapshot.position);
    for (const send of snapshot.outbox.map(sendFrom)) device.outbox.set(send.clientMessageId, send);
    for (const [chatId, marks] of Object.entries(snapshot.shown)) {
      device.shown.set(chatId, ids(marks, String));
    }
    if (device.position) {
      device.since = ids(snapshot.since ?? {}, Number);
      device.partitionCount = snapshot.partition_count ?? 1;
    }
    return device;
  }
}

function copied(position: Position | undefined): Position {
  const { logId, partition, offset, clockMs } = position ?? create(PositionSchema);
  return create(PositionSchema, { logId, partition, offset, clockMs });
}

function upTo(welcome: Welcome): Map<number, bigint> {
  return new Map(Object.entries(welcome.upTo).map(([partition, id]) => [Number(partition), id]));
}

function greatest(ids: bigint[]): bigint {
  return ids.reduce((a, b) => (a > b ? a : b));
}

function least(ids: bigint[]): bigint {
  return ids.length ? ids.reduce((a, b) => (a < b ? a : b)) : 0n;
}

function texts<K extends string | number>(marks: Map<K, bigint>): Record<string, string> {
  return Object.fromEntries([...marks].map(([key, id]) => [key, `${id}`]));
}

function ids<K>(marks: Record<string, string>, key: (text: string) => K): Map<K, bigint> {
  return new Map(Object.entries(marks).map(([name, id]) => [key(name), BigInt(id)]));
}
