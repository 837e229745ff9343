/** Files that messages carry. Their bytes go straight to and from a store, by URLs of the connect server. */

import type { Message as Proto } from "@bufbuild/protobuf";
import { waitMs } from "./backoff.js";
import { type Init, type Schema, create, fromBinary, toBinary } from "./codec.js";
import { ChatError, chatError, invalid, notReachable } from "./errors.js";
import type { Message } from "./events.js";
import type { GetDownloadRequest } from "./gen/cecochat/v1/attachments_pb.js";
import type { Attachment as Given } from "./gen/cecochat/v1/events_pb.js";
import {
  CreateUploadRequestSchema,
  CreateUploadResponseSchema,
  FinishUploadRequestSchema,
  FinishUploadResponseSchema,
  GetDownloadRequestSchema,
  GetDownloadResponseSchema,
} from "./gen/schemas.js";
import type { Fetch } from "./lookup.js";

const GIVE_UP_MS = 60_000;
const UNKNOWN = "application/octet-stream";
const ATTACHMENTS_MAX = 10;

/** A file that a message carries. */
export interface Attachment {
  id: string;
  name: string;
  /** What its sender says that it is, such as `image/png`. */
  mediaType: string;
  sizeBytes: number;
  /** In hexadecimal digits. */
  sha256: string;
  /** Only of an upload that was not sent yet; in hexadecimal digits. */
  receipt?: string;
}

/** Answers a call of `cecochat.v1.Attachments`, whose request and answer are serialized. */
export type Call = (
  name: string,
  request: Uint8Array<ArrayBuffer>,
) => Promise<Uint8Array<ArrayBuffer>>;

/** Uploads and reads files, as `Client.files`. */
export class Files {
  constructor(
    private readonly url: string,
    private readonly fetch: Fetch,
    private readonly call: Call,
    private readonly chat: (chat: string) => string,
  ) {}

  /**
   * Upload a file for the message that will be sent with this `clientMessageId`, within a day. Pass what
   * this resolves with to `Client.send`. A `File` has its own name.
   */
  async upload(
    to: string,
    file: Blob,
    options: { clientMessageId: string; name?: string },
  ): Promise<Attachment> {
    const name = options.name ?? (file as Partial<File>).name;
    if (!name) throw invalid("a blob has no name: pass `name`");
    const place = { chatId: this.chat(to), clientMessageId: options.clientMessageId };
    const attachment = {
      name,
      mediaType: typeOf(file),
      sizeBytes: BigInt(file.size),
      sha256: await hash(await file.arrayBuffer()),
    };
    const asked = { ...place, attachment };
    const begun = await this.ask(
      "CreateUpload",
      packed(CreateUploadRequestSchema, asked),
      CreateUploadResponseSchema,
    );
    const headers = Object.fromEntries(begun.headers.map((each) => [each.name, each.value]));
    await again(() => this.bytes(begun.url, { method: "PUT", body: file, headers }));
    const done = { ...place, attachment: begun.attachment! };
    const answer = await this.ask(
      "FinishUpload",
      packed(FinishUploadRequestSchema, done),
      FinishUploadResponseSchema,
    );
    return attachmentOf(answer.attachment!);
  }

  /** Return a URL that gives a file of a message for 5 minutes, as a download. */
  async link(message: Message, attachment: Attachment): Promise<string> {
    return (await this.found(message, attachment)).url;
  }

  /** Return the content of a file. It is what its sender has uploaded: its hash is checked. */
  async read(message: Message, attachment: Attachment): Promise<Blob> {
    return again(async () => {
      const { url, sha256 } = await this.found(message, attachment);
      const content = await (await this.bytes(url, {})).arrayBuffer();
      if (hexOf(await hash(content)) !== hexOf(sha256))
        throw notReachable(`${attachment.name} is damaged`);
      return new Blob([content], { type: attachment.mediaType });
    });
  }

  private async found(
    { chatId, id }: Message,
    attachment: Attachment,
  ): Promise<{ url: string; sha256: Uint8Array }> {
    const asked = { chatId, messageId: id, attachmentId: attachment.id };
    const found = await this.ask(
      "GetDownload",
      packed<GetDownloadRequest>(GetDownloadRequestSchema, asked),
      GetDownloadResponseSchema,
    );
    return { url: this.whole(found.url), sha256: found.attachment!.sha256 };
  }

  private async ask<A extends Proto>(
    name: string,
    request: Uint8Array<ArrayBuffer>,
    answer: Schema<A>,
  ): Promise<A> {
    return fromBinary(answer, await this.call(name, request));
  }

  /** Ask a store, which is never sent a token. */
  private async bytes(url: string, init: RequestInit): Promise<Response> {
    const whole = this.whole(url);
    const { host } = new URL(whole);
    let response: Response;
    try {
      response = await this.fetch(whole, { ...init, credentials: "omit" });
    } catch (error) {
      throw notReachable(`${host} does not answer (${chatError(error, "").message})`);
    }
    if (response.ok) return response;
    const said = `${host} answered ${response.status}`;
    if (response.status >= 500) throw notReachable(said);
    throw new ChatError(response.status === 404 ? "not_found" : "forbidden", said);
  }

  private whole(url: string): string {
    return new URL(url, `${this.url}/`).href;
  }
}

function packed<T extends Proto>(schema: Schema<T>, value: Init<T>): Uint8Array<ArrayBuffer> {
  return toBinary(schema, create(schema, value));
}

/** Convert an attachment. */
export function attachmentOf(given: Given): Attachment {
  const { id, name, mediaType, sizeBytes, sha256, receipt } = given;
  const plain = { id, name, mediaType, sizeBytes: Number(sizeBytes), sha256: hexOf(sha256) };
  return receipt.length ? { ...plain, receipt: hexOf(receipt) } : plain;
}

/** Convert attachments that are to be sent. Throws `invalid_argument`. */
export function attachmentsFrom(attachments: readonly Attachment[]): Init<Given>[] {
  if (attachments.length > ATTACHMENTS_MAX)
    throw invalid(`attach at most ${ATTACHMENTS_MAX} files`);
  if (attachments.some(({ receipt }) => !receipt)) {
    throw invalid("an attachment has no receipt: use what `files.upload` has resolved with");
  }
  return attachments.map(({ sizeBytes, sha256, receipt, ...each }) => ({
    ...each,
    sizeBytes: BigInt(sizeBytes),
    sha256: bytesOf(sha256),
    receipt: bytesOf(receipt!),
  }));
}

function typeOf({ type }: Blob): string {
  const plain = type.split(";")[0]!.trim().toLowerCase();
  return /^[a-z0-9][a-z0-9.+-]*\/[a-z0-9][a-z0-9.+-]*$/.test(plain) ? plain : UNKNOWN;
}

async function hash(content: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", content));
}

function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (digits) => parseInt(digits, 16));
}

/** Take a step, again while its error is retriable. */
async function again<T>(step: () => Promise<T>): Promise<T> {
  const giveUpMs = Date.now() + GIVE_UP_MS;
  for (let attempt = 0; ; attempt++) {
    try {
      return await step();
    } catch (thrown) {
      const error = chatError(thrown, "internal");
      const wait = waitMs(attempt, Math.random(), { atLeastMs: error.retryAfterMs });
      if (!error.retriable || Date.now() + wait > giveUpMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
