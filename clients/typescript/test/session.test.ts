import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { fromBinary, toBinary } from "../src/codec.js";
import { Device } from "../src/device.js";
import type { ClientFrame, ServerItem, Welcome } from "../src/gen/cecochat/v1/messaging_pb.js";
import { ClientFrameSchema, ServerFrameSchema } from "../src/gen/schemas.js";
import { create } from "../src/codec.js";
import { LocalDevice } from "../src/local.js";
import { type Ended, Session, type Socket } from "../src/session.js";
import { caughtUp, welcome } from "./items.js";

const immediately = setImmediate;

/** A session whose server is the test. */
class Served {
  readonly frames: ClientFrame[] = [];
  socket!: Socket & { readyState: number };
  ended: Ended | undefined;
  readonly session: Session;

  constructor() {
    const nothing = (): void => {};
    const later = async (): Promise<void> => {};
    const local = new LocalDevice(
      new Device("alice"),
      {
        take: later,
        changed: nothing,
        drained: nothing,
        failed: nothing,
        toWrite: nothing,
        toTell: nothing,
        signalled: nothing,
        keepMessage: nothing,
      },
      true,
    );
    const peer = { keep: later, fill: later, expiring: nothing, arrived: nothing };
    this.session = new Session(local, peer);
    const served = this;
    class Fake implements Socket {
      binaryType = "";
      readyState = 0;
      onopen: Socket["onopen"] = null;
      onmessage: Socket["onmessage"] = null;
      onclose: Socket["onclose"] = null;
      onerror: Socket["onerror"] = null;
      constructor() {
        served.socket = this;
      }
      send(data: Uint8Array): void {
        served.frames.push(fromBinary(ClientFrameSchema, data));
      }
      close(): void {
        this.readyState = 3;
      }
    }
    void this.session.run(Fake, "ws://m1", "token", "test").then((ended) => (this.ended = ended));
    this.socket.readyState = 1;
    this.socket.onopen?.(undefined as never);
  }

  async say(...items: ServerItem[]): Promise<void> {
    const frame = toBinary(ServerFrameSchema, create(ServerFrameSchema, { items }));
    this.socket.onmessage?.({ data: frame.buffer as never });
    await rest();
  }

  async close(code: number): Promise<Ended> {
    this.socket.onclose?.({ code } as never);
    await rest();
    return this.ended!;
  }

  get probes(): number {
    return this.frames.filter((frame) => frame.probe).length;
  }
}

async function rest(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => immediately(resolve));
}

async function pass(seconds: number): Promise<void> {
  for (let n = 0; n < seconds; n++) mock.timers.tick(1_000);
  await rest();
}

function answering(): ServerItem {
  const item = welcome(5n);
  (item.item.value as Welcome).answersProbes = true;
  return item;
}

test("the token is in the hello, and a close code says whether to come back", async () => {
  for (const [code, name, retriable] of [
    [4_003, "token_expired", true],
    [4_502, "unauthenticated", false],
    [4_520, "replaced", false],
    [4_099, "99", true], // of a later version
    [4_599, "99", false],
    [1_006, "not_reachable", true],
    [1_009, "not_reachable", true],
  ] as const) {
    const served = new Served();
    assert.equal(served.frames[0]?.hello?.token, "token");
    const { error } = await served.close(code);
    assert.deepEqual([error?.code, error?.retriable], [name, retriable], `${code}`);
  }
});

test("what came before the close frame is still taken", async () => {
  const served = new Served();
  const frame = toBinary(
    ServerFrameSchema,
    create(ServerFrameSchema, {
      items: [{ item: { case: "disconnect", value: { websocket: "ws://m2", error: {} } } }],
    }),
  );
  served.socket.onmessage?.({ data: frame.buffer as never });
  assert.equal((await served.close(4_014)).websocket, "ws://m2");
});

test("a silent server is asked for a sign of life, and left if it gives none", async () => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  try {
    const served = new Served();
    await served.say(answering(), caughtUp(5n));
    await pass(19);
    assert.equal(served.probes, 0);
    await pass(6);
    assert.equal(served.probes, 1);
    await served.say(caughtUp(5n));
    await pass(20);
    assert.equal(served.probes, 2);
    assert.equal(served.ended, undefined);
    await pass(25);
    assert.equal(served.ended!.error?.code, "not_reachable");
    assert.equal(served.probes, 2);
  } finally {
    mock.timers.reset();
  }
});

test("a server of an earlier version is not asked, and not left", async () => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  try {
    const served = new Served();
    await served.say(welcome(5n), caughtUp(5n));
    await pass(300);
    assert.deepEqual([served.probes, served.ended], [0, undefined]);
  } finally {
    mock.timers.reset();
  }
});

test("a server that does not welcome is left", async () => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  try {
    const served = new Served();
    await pass(15);
    assert.equal(served.ended?.error?.code, "not_reachable");
  } finally {
    mock.timers.reset();
  }
});
