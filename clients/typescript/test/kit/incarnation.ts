/** The client from a start to the next: what a page or a process is. */

import { create, fromBinary, fromJson } from "@bufbuild/protobuf";
import { Client } from "../../src/client.js";
import { Core } from "../../src/core.js";
import type { Message, Occurrence } from "../../src/events.js";
import { ClientFrameSchema, SendSchema } from "../../src/gen/cecochat/v1/messaging_pb.js";
import type { Snapshot } from "../../src/snapshot.js";
import { MemoryKept } from "../../src/storage.js";
import { Surroundings } from "../../src/surroundings.js";
import type { Json } from "./case.js";
import { ScriptedHttp, ScriptedSocket } from "./scripted.js";
import type { Body } from "../../src/sending.js";

/** A storage that takes a moment, as real ones do. */
class SlowKept extends MemoryKept {
  override async save(device: Snapshot, messages: Message[]): Promise<void> {
    const text = JSON.stringify(device);
    await new Promise((resolve) => setImmediate(resolve));
    await super.save(JSON.parse(text), messages);
  }
}

export class Incarnation {
  readonly core: Core;
  private readonly client: Client;
  readonly http: ScriptedHttp;
  readonly kept = new SlowKept();
  /** The stream that is open. */
  stream: ScriptedSocket | undefined;
  /** The one that the client waits for. */
  opening: ScriptedSocket | undefined;
  token = "a token";
  private alive = true;

  constructor(userId: string, snapshot: Snapshot, told: (occurrence: Occurrence) => void) {
    this.kept.device = JSON.parse(JSON.stringify(snapshot));
    this.http = new ScriptedHttp(userId);
    const opened = (socket: ScriptedSocket): void => {
      this.opening = socket;
    };
    const writing = (frame: Uint8Array): void => this.checkStored(frame);
    const options = {
      url: "https://connect.example",
      token: () => this.token,
      device: "conformance kit",
      receipts: false,
      fetch: this.http.fetch as typeof fetch,
      WebSocket: class extends ScriptedSocket {
        constructor(url: string) {
          super(url);
          opened(this);
        }
        override send(frame: Uint8Array): void {
          writing(frame);
          super.send(frame);
        }
      },
    };
    this.core = new Core(userId, options, this.kept, new Surroundings(), async (occurrence) => {
      if (this.alive) told(occurrence);
    });
    this.client = new Client(userId);
    this.client._open(this.core, options.url, options.fetch);
    this.core.start();
  }

  /** Let the application send something. `read` is up to where it has read the history. */
  submit(json: Json, repeat: number): void {
    const send = fromJson(SendSchema, json);
    const { clientMessageId, chatId, seenId, body } = send;
    if (body.case === "receipt") {
      this.core["local"].progress.submit(create(SendSchema, { clientMessageId, chatId, body }));
      this.core["owner"]().toWrite();
    } else if (body.case !== "message" || body.value.replyToId || body.value.attachments.length) {
      const sent = this.core.post(chatId, body as Body, clientMessageId);
      sent.catch(() => {});
    } else {
      if (seenId) this.core["sending"].note(chatId, seenId);
      const text = body.value.text.repeat(repeat);
      const sent = clientMessageId
        ? this.core.send(chatId, text, clientMessageId)
        : this.client.send(chatId, text);
      sent.catch(() => {}); // the event tells of it
    }
  }

  /** Let the application ask for the newest messages of a chat. */
  read(chatId: string): void {
    this.core.page(chatId, {}).catch(() => {}); // what it asked for tells whether it did
  }

  /** Check that what is written is stored: a crash could come at once. */
  private checkStored(frame: Uint8Array): void {
    const stored = this.kept.device!.outbox.map((send) => send.clientMessageId);
    for (const send of fromBinary(ClientFrameSchema, frame).sends) {
      if (!stored.includes(send.clientMessageId)) throw new Error("a send is not stored");
    }
  }

  /** End it as a crash does: nothing that it does from now on counts. */
  kill(): void {
    this.alive = false;
    this.stream = this.opening = undefined;
  }
}
