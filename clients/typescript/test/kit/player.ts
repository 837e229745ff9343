/**
 * Plays a case against the client: all of it but storage, sockets and clocks. Time is the test's, so
 * that back-off takes none.
 */

import assert from "node:assert/strict";
import { mock } from "node:test";
import { fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { Device } from "../../src/device.js";
import { SendSchema, ServerFrameSchema } from "../../src/gen/cecochat/v1/messaging_pb.js";
import type { Snapshot } from "../../src/snapshot.js";
import type { Case, Json, Step } from "./case.js";
import { Incarnation } from "./incarnation.js";
import { Names, Outcome } from "./outcome.js";
import { URL_OF_LOOKUP, keyOf } from "./scripted.js";

const SOON_MS = 100; // after which what has changed is saved
const GIVE_UP_MS = 30_000; // queries are repeated for 20 s
const BACK_MS = 60_000; // above every wait of the kit
const EXPECTED = ["hello", "sends", "offset", "renews", "shows", "marks", "sent", "rejected"];

const immediately = setImmediate;

/** Let all that can go on without time go on. */
async function rest(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => immediately(resolve));
}

async function pass(ms: number): Promise<void> {
  mock.timers.tick(ms);
  await rest();
}

class Player {
  private client: Incarnation;
  private readonly names = new Names();
  private outcome = new Outcome(this.names);
  private limits = { frameMaxBytes: 64 << 10, sendsPerFrameMax: 256 };

  constructor(private readonly of: Case) {
    this.client = this.begin(new Device(of.user, of.deviceId).snapshot());
  }

  private begin(snapshot: Snapshot): Incarnation {
    return new Incarnation(this.of.user, snapshot, (occurrence) => this.outcome.told(occurrence));
  }

  async play(): Promise<void> {
    await rest();
    for (const [index, step] of this.of.steps.entries()) {
      const found = await this.step(step);
      assert.deepStrictEqual(found, wanted(step), `step ${index + 1} of ${this.of.name}`);
    }
    this.client.kill();
  }

  private async step(step: Step): Promise<Json> {
    this.outcome = new Outcome(this.names);
    const { http } = this.client;
    http.queries = step.queries ?? [];
    http.asked.length = 0;
    await this.act(step);
    await rest();
    await pass(SOON_MS);
    if (step.queries?.some((query) => query.error)) await this.passUntilGivenUp();
    const { stream } = this.client;
    for (const frame of stream?.frames.splice(0) ?? []) {
      this.outcome.written(frame, this.limits, this.client.token);
    }
    if (stream?.readyState === 3) await this.end();
    if (step.stores) this.outcome.stored(this.client.kept.device!, Object.keys(step.stores));
    const required = http.queries.filter((query) => !query.optional).map(keyOf);
    const optional = http.queries.filter((query) => query.optional).map(keyOf);
    const asked = http.asked.filter((key) => !optional.includes(key));
    assert.deepEqual(asked.sort(), required.sort());
    return this.outcome.found;
  }

  private async act(step: Step): Promise<void> {
    const { client } = this;
    if ("connect" in step) {
      if (!client.opening) await pass(BACK_MS);
      client.stream = client.opening;
      client.opening = undefined;
      client.stream!.open();
    }
    if (step.server) this.say(step.server);
    if (step.frame) client.stream!.say(Buffer.from(step.frame, "hex"));
    for (const send of step.submit ?? []) {
      this.names.given.add(send.clientMessageId);
      client.submit(send, step.repeat ?? 1);
    }
    if (step.read) client.read(step.read);
    if ("cut" in step) client.stream!.end();
    if (step.close) client.stream!.end(step.close);
    if ("restart" in step) {
      client.kill();
      this.client = this.begin(client.kept.device!);
    }
  }

  private say(items: Json[]): void {
    for (const item of items) {
      Object.assign(this.limits, item.welcome?.limits);
      if (item.tokenExpiring) this.client.token = "the next token";
    }
    const frame = fromJson(ServerFrameSchema, { items });
    this.client.stream!.say(toBinary(ServerFrameSchema, frame));
  }

  private async passUntilGivenUp(): Promise<void> {
    for (let ms = 0; ms < GIVE_UP_MS; ms += 1_000) {
      if (this.client.stream?.readyState === 1) await pass(1_000);
    }
  }

  /** Note how the client goes on after the end of a stream. */
  private async end(): Promise<void> {
    const { client } = this;
    const { status } = client.core;
    const ends: Json = { comesBack: "yes" };
    this.outcome.found.ends = ends;
    client.stream = undefined;
    if (status.state === "waiting") {
      const { until, error } = status;
      const asked = error.retryAfterMs;
      if (asked && until.getTime() - Date.now() >= asked - SOON_MS)
        ends.waitsAtLeastMs = `${asked}`;
      await pass(BACK_MS);
    }
    if (client.core.status.state === "closed") {
      const isForTheToken = client.core.status.error?.code === "no_other_token";
      ends.comesBack = isForTheToken ? "with another token" : "no";
    } else if (client.opening!.url !== URL_OF_LOOKUP) ends.websocket = client.opening!.url;
  }
}

/** Return what a step expects, in the form of an outcome. */
function wanted(step: Step): Json {
  const keys = [...EXPECTED, "caughtUp", "ends", "stores"].filter((key) => key in step);
  const found = Object.fromEntries(keys.map((key) => [key, step[key]]));
  if (step.sends) found.sends = step.sends.map((send: Json) => repeated(send, step.repeat ?? 1));
  if (step.ends) {
    const { address, ...ends } = step.ends; // over gRPC
    found.ends = ends;
  }
  return found;
}

function repeated(json: Json, times: number): Json {
  const send = fromJson(SendSchema, json);
  if (send.body.case === "message") send.body.value.text = send.body.value.text.repeat(times);
  return toJson(SendSchema, send) as Json;
}

/** Play a case. Throws an `AssertionError` where the client does not do what a step says. */
export async function play(each: Case): Promise<void> {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  const chance = mock.method(Math, "random", () => 0.9);
  try {
    await new Player(each).play();
  } finally {
    mock.timers.reset();
    chance.mock.restore();
  }
}
