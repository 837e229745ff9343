/** The rules of the client less one each, by their names in `conformance/rules.json`. */

/* eslint-disable @typescript-eslint/no-explicit-any -- private methods are replaced, too */

import { Client } from "../../src/client.js";
import { Core } from "../../src/core.js";
import { Device } from "../../src/device.js";
import { ChatError } from "../../src/errors.js";
import type { Hole } from "../../src/gen/cecochat/v1/history_pb.js";
import type { ServerItem, Welcome } from "../../src/gen/cecochat/v1/messaging_pb.js";
import { Filling } from "../../src/gap.js";
import { participants } from "../../src/ids.js";
import { LocalDevice } from "../../src/local.js";
import { Lookup } from "../../src/lookup.js";
import { Progress } from "../../src/progress.js";
import { Session } from "../../src/session.js";
import { type Ablation, ablation } from "./ablation.js";
import { GROUP_ABLATIONS } from "./groups.js";
import {
  keeps,
  receives,
  shows,
  answers,
  fills,
  submits,
  moves,
  asks,
  reads,
  endsAtFaults,
  mends,
  returning,
  stores,
} from "./ways.js";

const FRAME_CHARACTERS = 60 << 10;

type Marks = Map<string, bigint>;

function highest(ids: Iterable<bigint>): bigint {
  return [...ids].reduce((a, b) => (a > b ? a : b), 0n);
}

const UNKNOWN = /^\d+$/;

export const ABLATIONS: Record<string, Ablation[]> = {
  "what another device of the user wrote is shown": [
    shows((device, event, show) => {
      const happening = show();
      const isOwn = event.userId === device.userId;
      return happening?.kind === "received" && isOwn ? undefined : happening;
    }),
  ],
  "sends wait for caught_up": [
    submits((device, send, submit) => {
      submit();
      if (!device.caughtUp) device.unwritten.push(send.clientMessageId);
    }),
  ],
  "only the first caught_up sends again": [
    receives("caughtUp", (device, _, receive) => {
      device.caughtUp = false;
      return receive();
    }),
  ],
  "a frame has no more sends than the limit": [
    ablation(
      Device,
      "outgoing",
      (outgoing) =>
        function () {
          return outgoing.call(this, 1_000);
        },
    ),
  ],
  "a frame is measured in bytes": [
    ablation(
      Device,
      "outgoing",
      (outgoing) =>
        function (sendsMax: number) {
          const frame = outgoing.call(this, 1);
          const text = (send: any): string => send.body.value.text;
          while (frame && frame.sends.length < sendsMax && this.unwritten.length) {
            const next = this.outbox.get(this.unwritten[0]);
            const characters = [...frame.sends, next].map(text).join("").length;
            if (characters > FRAME_CHARACTERS) break;
            frame.sends.push(next);
            this.unwritten.shift();
          }
          return frame;
        },
    ),
  ],
  "a token that expires is renewed": [ablation(Core, "expiring", returning(undefined))],
  "unanswered sends are stored": [keeps({ outbox: [] })],
  "a send is stored before it is written": [ablation(Core, "keep", returning(Promise.resolve()))],
  "the position is stored": [keeps({ position: null })],
  "marks are stored": [keeps({ shown: {} })],
  "the position never goes back": [
    moves((position, offset, clockMs) => Object.assign(position, { offset, clockMs })),
  ],
  "the clock moves with the offset": [
    moves((position, offset) => {
      if (offset > position.offset) position.offset = offset;
    }),
  ],
  "the offset and the clock are of one item": [
    moves((position, offset, clockMs) => {
      position.offset = offset;
      if (clockMs > position.clockMs) position.clockMs = clockMs;
    }),
  ],
  "an ack moves the position": [
    receives("ack", (device, ack) => device.answered(ack.clientMessageId, ack.messageId)),
  ],
  "what was shown is not shown again": [
    shows((_, event, show) => show() ?? { kind: "received", event }),
  ],
  "ids are integers of 64 bits": [
    shows((device, event, show) => {
      const mark = device.shown.get(event.chatId)?.get(event.userId) ?? 0n;
      return Number(event.id) > Number(mark) ? show() : undefined;
    }),
  ],
  "marks are of one chat": [
    shows((device, event, show) => {
      const ofAllChats = [...device.shown.values()].map((marks) => marks.get(event.userId) ?? 0n);
      return event.id > highest(ofAllChats) ? show() : undefined;
    }),
  ],
  "an answer lowers no mark": [
    answers((device, send, id) => device.marks(send.chatId).set(device.userId, id)),
  ],
  "an answer raises the mark": [answers(() => {})],
  "marks are of one sender": [
    shows((device, event, show) => {
      const marks: Marks = device.shown.get(event.chatId) ?? new Map();
      return event.id > highest(marks.values()) ? show() : undefined;
    }),
  ],
  "unanswered sends are sent again": [ablation(Device, "resends", returning([]))],
  "resends keep their order": [
    ablation(
      Device,
      "resends",
      (resends) =>
        function () {
          return resends.call(this).reverse();
        },
    ),
  ],
  "an own event is an ack": [
    shows((device, event) => {
      const marks: Marks = device.marks(event.chatId);
      if (event.id <= (marks.get(event.userId) ?? 0n)) return undefined;
      marks.set(event.userId, event.id);
      return { kind: "received", event };
    }),
  ],
  "only own events are acks": [
    shows((device, event, show) =>
      device.outbox.has(event.clientMessageId)
        ? device.answered(event.clientMessageId, event.id)
        : show(),
    ),
  ],
  "a frame of sends says the offset": [
    ablation(
      Device,
      "outgoing",
      (outgoing) =>
        function (sendsMax: number) {
          const frame = outgoing.call(this, sendsMax);
          return frame && Object.assign(frame, { offset: -1n });
        },
    ),
  ],
  "a gap is filled": [receives("gap", () => undefined)],
  "a gap leaves to the stream what it brings": [fills((device, event) => device.show(event))],
  "what is older than the device is not news": [
    fills((device, _, fill) => {
      const { since } = device;
      device.since = new Map();
      const happening = fill();
      device.since = since;
      return happening;
    }),
  ],
  "the first welcome counts": [
    receives("welcome", (device, _, receive) => {
      device.since = undefined;
      return receive();
    }),
  ],
  "the first welcome is stored": [keeps({ since: {} })],
  "what is older than the log is in the history": [
    receives("welcome", (_, welcome: Welcome, receive) => {
      welcome.logBeganId = 0n;
      return receive();
    }),
  ],
  "the position moves once the gap is filled": [
    receives("welcome", (device, welcome: Welcome, receive) => {
      receive();
      device.position = { ...welcome.position };
      return undefined;
    }),
  ],
  "the position moves over the gap": [
    ablation(
      Device,
      "filled",
      () =>
        function () {
          this.gap = undefined;
        },
    ),
  ],
  "a chat is read from the lower mark": [
    ablation(
      Device,
      "shownUpTo",
      () =>
        function (chatId: string) {
          const of = (userId: string): bigint => {
            const before = this.since.get(this.partitionOf(userId, this.partitionCount)) ?? 0n;
            return highest([before, this.shown.get(chatId)?.get(userId) ?? 0n]);
          };
          return highest(participants(chatId).map(of));
        },
    ),
  ],
  "partitions are by murmur2": [
    ablation(
      Device,
      "shownUpTo",
      (shownUpTo) =>
        function (chatId: string) {
          this.partitionOf = () => 0;
          return shownUpTo.call(this, chatId);
        },
    ),
  ],
  "the list of chats is asked with the token": [asks("chats", "token")],
  "pages are asked with the token": [asks("messages", "token")],
  "chats are listed by their ids": [asks("chats", "afterChatId")],
  "all chats are listed": [reads("chats", { hasMore: false })],
  "all pages are read": [reads("messages", { hasMore: false })],
  "a list of chats that brings nothing new has not ended": [endsAtFaults("chats")],
  "a page that brings nothing new is not the last": [endsAtFaults("messages")],
  "a hole is told": [ablation(Filling, "takeHole", returning(undefined))],
  "a hole of one message is that message": [
    ablation(
      Filling,
      "takeHole",
      (takeHole) =>
        function (hole: Hole) {
          takeHole.call(this, { ...hole, clientMessageId: "" });
        },
    ),
  ],
  "holes of chats without messages are told": [reads("chats", { holes: [] })],
  "marks of the history are told": [
    ablation(
      LocalDevice,
      "tell",
      (tell) =>
        function (occurrence: { name: string }) {
          if (occurrence.name !== "receipt") tell.call(this, occurrence);
        },
    ),
  ],
  "what is too old is not shown": [
    shows((_, event, show) => {
      if (event.body.case === "message") event.body.value.expired = false;
      return show();
    }),
  ],
  "a hello names the device": [
    ablation(
      Device,
      "hello",
      (hello) =>
        function (label: string) {
          const frame = hello.call(this, label);
          frame.hello.deviceId = "";
          return frame;
        },
    ),
  ],
  "REPLACED is final": [mends(() => true)],
  "a send says what was seen": [
    submits((_, send, submit) => {
      const { seenId } = send;
      submit();
      send.seenId = seenId;
    }),
  ],
  "what was seen is of one chat": [
    submits((device, send, submit) => {
      const marks = [...device.shown.values()].flatMap((each: Marks) => [...each.values()]);
      send.seenId = highest([send.seenId, ...marks]);
      submit();
    }),
  ],
  "a refused send is forgotten": [
    receives("refused", (device, refused, receive) => {
      const send = device.outbox.get(refused.clientMessageId);
      const happening = receive();
      if (send) device.outbox.set(send.clientMessageId, send);
      return happening;
    }),
    ablation(Progress, "forget", returning(undefined)),
  ],
  "each message has an id of its own": [
    ablation(
      Client,
      "send",
      (send) =>
        function (to: string, text: string, options: object = {}) {
          return send.call(this, to, text, { clientMessageId: text, ...options });
        },
    ),
  ],
  "a session that was too slow is resumed": [mends((error, can) => can && error.code !== "slow")],
  "a refusal ends the session": [
    ablation(
      Session,
      "take",
      (take) =>
        async function (item: ServerItem) {
          if (item.item.case === "refused") this.local.receive(item);
          else await take.call(this, item);
        },
    ),
  ],
  "a disconnect says where to go": [
    ablation(
      Session,
      "end",
      (end) =>
        function ({ websocket, ...ended }: { websocket?: string }) {
          end.call(this, ended);
        },
    ),
  ],
  "a server that asks for time gets it": [
    ablation(
      Core,
      "pause",
      (pause) =>
        function (error: ChatError | undefined) {
          return pause.call(
            this,
            error && new ChatError(error.code, error.message, error.retriable),
          );
        },
    ),
  ],
  "a revoked token is not used again": [ablation(Lookup, "note", returning(undefined))],
  "an expired token is replaced": [mends((error, can) => can && error.code !== "token_expired")],
  "unknown items are ignored": [
    receives(undefined, () => {
      throw new Error("an item of a kind that is not known");
    }),
  ],
  "unknown events move the position": [
    receives("delivered", (_, { event }, receive) => (event.body.case ? receive() : undefined)),
  ],
  "an unknown code may be retriable": [mends((error, can) => can && !UNKNOWN.test(error.code))],
  "an unknown code may be final": [mends((error, can) => can || UNKNOWN.test(error.code))],
  "a gap is filled with changes, too": [asks("messages", "withChanges")],
  "changes are shown": [
    shows((_, event, show) => {
      const happening = show();
      return event.body.case === "message" ? happening : undefined;
    }),
  ],
  "changes are stored as they are sent": [stores(({ edit, deletion, reaction, ...rest }) => rest)],
  ...GROUP_ABLATIONS,
};
