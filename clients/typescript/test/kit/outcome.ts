/** What the client did in one step, in the words of the kit. */

import assert from "node:assert/strict";
import { fromBinary, toJson } from "@bufbuild/protobuf";
import type { Occurrence } from "../../src/events.js";
import { ClientFrameSchema } from "../../src/gen/cecochat/v1/messaging_pb.js";
import type { GroupChange, GroupOptions } from "../../src/group.js";
import type { ChatSettings } from "../../src/settings.js";
import type { Snapshot } from "../../src/snapshot.js";
import type { Json } from "./case.js";

/** The limits of the welcome in force. */
export interface Limits {
  frameMaxBytes: number;
  sendsPerFrameMax: number;
}

/**
 * What a case calls the client message ids that the client has chosen itself: `chosen-1` and so on,
 * in the order in which they are written.
 */
export class Names {
  /** Those that the case has chosen. */
  readonly given = new Set<string>();
  private readonly chosen = new Map<string, string>();

  name(id: string): string {
    if (this.given.has(id)) return id;
    if (!this.chosen.has(id)) this.chosen.set(id, `chosen-${this.chosen.size + 1}`);
    return this.chosen.get(id)!;
  }
}

/** What happened in a step; `found` has the same keys as a step of the kit. */
export class Outcome {
  readonly found: Json = {};

  constructor(private readonly names: Names) {}

  private add(key: string, what: Json): void {
    (this.found[key] ??= []).push(what);
  }

  /** Note a frame that the client has written. `renewed` is the token that it was given last. */
  written(bytes: Uint8Array, limits: Limits, renewed: string): void {
    const frame = toJson(ClientFrameSchema, fromBinary(ClientFrameSchema, bytes)) as Json;
    assert.ok(bytes.length <= limits.frameMaxBytes, `a frame of ${bytes.length} bytes`);
    assert.ok((frame.sends ?? []).length <= limits.sendsPerFrameMax, "too many sends in a frame");
    if (frame.hello) {
      const { device, token, ...hello } = frame.hello;
      this.found.hello = hello;
      assert.ok(!frame.sends, "the frame of the hello has sends");
    }
    if (frame.renewedToken) {
      assert.equal(frame.renewedToken, renewed);
      this.found.renews = true;
    }
    for (const send of frame.sends ?? []) {
      this.add("sends", { ...send, clientMessageId: this.names.name(send.clientMessageId) });
      this.found.offset = frame.offset ?? "0";
    }
  }

  /** Note what the application was told. */
  told({ name, value }: Occurrence): void {
    switch (name) {
      case "message": {
        const { id, chatId, userId, text, missing } = value;
        if (!missing) this.add("shows", { id: `${id}`, chatId, userId, text }); // a hole tells it
        return;
      }
      case "change": {
        const { id, messageId, kind, clientMessageId, chatId, userId, ...what } = value;
        if (clientMessageId) return this.add("sent", { clientMessageId, messageId: `${id}` });
        const change = { id: `${id}`, chatId, userId, messageId: `${messageId}`, ...what };
        return this.add("shows", { [kind]: change });
      }
      case "membership": {
        const { id, chatId, userId, clientMessageId, isAsked } = value;
        if (isAsked) return this.add("sent", { clientMessageId, messageId: `${id}` });
        const change = { id: `${id}`, chatId, userId, ...membership(value) };
        return this.add("shows", { membership: change });
      }
      case "settingschanged": {
        const { id, chatId, clientMessageId, settings } = value;
        if (clientMessageId) return this.add("sent", { clientMessageId, messageId: `${id}` });
        return this.add("shows", { settings: { id: `${id}`, chatId, ...given(settings) } });
      }
      case "hole": {
        const [firstId, lastId] = [`${value.firstId}`, `${value.lastId}`];
        const reason = `REASON_${value.reason.toUpperCase()}`;
        return this.add("shows", { hole: { chatId: value.chatId, firstId, lastId, reason } });
      }
      case "receipt":
        return this.marked(value.chatId, value.userId, value);
      case "sent":
        return this.add("sent", {
          clientMessageId: value.clientMessageId,
          messageId: `${value.id}`,
        });
      case "rejected": {
        const code = `ERROR_CODE_${value.error.code.toUpperCase()}`;
        return this.add("rejected", { clientMessageId: value.clientMessageId, code });
      }
      case "caughtup":
        this.found.caughtUp = true;
    }
  }

  private marked(chatId: string, userId: string, told: Marks): void {
    const chat = ((this.found.marks ??= {})[chatId] ??= {});
    const marks = (chat[userId] ??= { deliveredUpTo: "0", readUpTo: "0" });
    for (const name of ["deliveredUpTo", "readUpTo"] as const) {
      if (told[name] > BigInt(marks[name])) marks[name] = `${told[name]}`;
    }
  }

  /** Note what of the device would be there after a restart. */
  stored(kept: Snapshot, keys: string[]): void {
    const all: Json = {
      position: kept.position,
      unanswered: kept.outbox.map((send) => this.names.name(send.clientMessageId)),
      shown: Object.fromEntries(
        Object.entries(kept.shown).filter(([, marks]) => Object.keys(marks).length),
      ),
    };
    this.found.stores = Object.fromEntries(keys.map((key) => [key, all[key]]));
  }
}

/** Return a change of a group as the protocol has it. */
function membership({ added, removed, invited, appointed, options }: GroupChange): Json {
  const appointments = appointed.map(({ userId, role }) => ({
    userId,
    role: `ROLE_${role.toUpperCase()}`,
  }));
  const change = { addedIds: added, removedIds: removed, invitedIds: invited, appointments };
  const found: Json = { ...change, ...(options && { options: set(options) }) };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value.length !== 0));
}

/** Return settings as the protocol has them. */
function given({ mutedUntil, archived, pinned, accepted }: ChatSettings): Json {
  const mutedUntilMs = mutedUntil && `${mutedUntil.getTime()}`;
  return {
    ...(mutedUntilMs && { mutedUntilMs }),
    ...(archived && { archived }),
    ...(pinned && { pinned }),
    ...(accepted && { accepted }),
  };
}

/** Return those options that are not what they are by default. */
function set(options: GroupOptions): Json {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value));
}

interface Marks {
  deliveredUpTo: bigint;
  readUpTo: bigint;
}
