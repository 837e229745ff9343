/** The usual ways to take a rule away. */

/* eslint-disable @typescript-eslint/no-explicit-any -- private methods are replaced, too */

import { Device, type Happening } from "../../src/device.js";
import type { ChatError } from "../../src/errors.js";
import type { Event } from "../../src/gen/cecochat/v1/events_pb.js";
import type { Send, ServerItem } from "../../src/gen/cecochat/v1/messaging_pb.js";
import { Lookup } from "../../src/lookup.js";
import { Queries } from "../../src/queries.js";
import type { Snapshot } from "../../src/snapshot.js";
import { type Ablation, ablation } from "./ablation.js";

/** Keep a device without one part of its snapshot. */
export function keeps(less: Partial<Snapshot>): Ablation {
  return ablation(
    Device,
    "snapshot",
    (snapshot) =>
      function () {
        return { ...snapshot.call(this), ...less };
      },
  );
}

/** Store what waits to be sent without a part of it. */
export function stores(less: (send: Snapshot["outbox"][number]) => object): Ablation {
  return ablation(
    Device,
    "snapshot",
    (snapshot) =>
      function () {
        const kept: Snapshot = snapshot.call(this);
        return { ...kept, outbox: kept.outbox.map(less) };
      },
  );
}

/** Take an item in another way, if this is one of its kind. */
export function receives(
  kind: ServerItem["item"]["case"],
  instead: (device: any, value: any, receive: () => unknown) => unknown,
): Ablation {
  return ablation(
    Device,
    "receive",
    (receive) =>
      function (item: ServerItem) {
        const usual = (): unknown => receive.call(this, item);
        return item.item.case === kind ? instead(this, item.item.value, usual) : usual();
      },
  );
}

/** Show an event in another way. */
export function shows(
  instead: (device: any, event: Event, show: () => Happening | undefined) => unknown,
): Ablation {
  return ablation(
    Device,
    "show",
    (show) =>
      function (event: Event) {
        return instead(this, event, () => show.call(this, event));
      },
  );
}

/** Take the answer to a send in another way. */
export function answers(mark: (device: any, send: Send, messageId: bigint) => void): Ablation {
  return ablation(
    Device,
    "answered",
    () =>
      function (id: string, messageId: bigint) {
        const send = this.outbox.get(id);
        if (!send) return undefined;
        this.outbox.delete(id);
        mark(this, send, messageId);
        return { kind: "sent", send, messageId };
      },
  );
}

export function fills(
  instead: (device: any, event: Event, fill: () => unknown) => unknown,
): Ablation {
  return ablation(
    Device,
    "fill",
    (fill) =>
      function (event: Event) {
        return instead(this, event, () => fill.call(this, event));
      },
  );
}

/** Submit a send in another way. */
export function submits(instead: (device: any, send: Send, submit: () => void) => void): Ablation {
  return ablation(
    Device,
    "submit",
    (submit) =>
      function (send: Send) {
        instead(this, send, () => submit.call(this, send));
      },
  );
}

export function moves(instead: (position: any, offset: bigint, clockMs: bigint) => void): Ablation {
  return ablation(
    Device,
    "move",
    () =>
      function (offset: bigint, clockMs: bigint) {
        instead(this.position, offset, clockMs);
      },
  );
}

/** Ask the history without some fields. */
export function asks(method: "chats" | "messages", ...less: string[]): Ablation {
  return ablation(
    Queries,
    method,
    (ask) =>
      function (request: object) {
        const kept = Object.entries(request).filter(([name]) => !less.includes(name));
        return ask.call(this, Object.fromEntries(kept));
      },
  );
}

/** Read the answers of the history without some fields. */
export function reads(method: "chats" | "messages", less: object): Ablation {
  return ablation(
    Queries,
    method,
    (ask) =>
      async function (request: object) {
        return { ...(await ask.call(this, request)), ...less };
      },
  );
}

/** Take an answer of the history that cannot be right for its end. */
export function endsAtFaults(method: "chats" | "messages"): Ablation {
  return ablation(
    Queries,
    method,
    (ask) =>
      async function (request: object) {
        const end = { chats: [], messages: [], holes: [], marks: [], hasMore: false };
        return ask.call(this, request).catch(() => end);
      },
  );
}

export function mends(instead: (error: ChatError, mends: boolean) => boolean): Ablation {
  return ablation(
    Lookup,
    "mends",
    (usual) =>
      function (error: ChatError) {
        return instead(error, usual.call(this, error));
      },
  );
}

export function returning(value: unknown): Ablation["instead"] {
  return () => () => value;
}
