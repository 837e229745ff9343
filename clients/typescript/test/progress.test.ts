import assert from "node:assert/strict";
import { test } from "node:test";
import { Device } from "../src/device.js";
import { type Occurrence, occurrenceOf } from "../src/events.js";
import type { ServerItem } from "../src/gen/cecochat/v1/messaging_pb.js";
import { Progress } from "../src/progress.js";
import { caughtUp, delivered, event, welcome } from "./items.js";

/** Listeners that take an event only when they are told to. */
class Listeners {
  readonly taken: bigint[] = [];
  readonly handed: bigint[] = [];
  drains = 0;
  error: unknown;
  private letGo = (): void => {};
  readonly progress = new Progress(new Device("alice", "device"), {
    take: async ({ value }: Occurrence) => {
      this.handed.push((value as { id: bigint }).id);
      await new Promise<void>((resolve) => (this.letGo = resolve));
      if (this.failing) throw this.failing;
    },
    taken: ({ value }) => this.taken.push((value as { id: bigint }).id),
    changed: () => {},
    drained: () => this.drains++,
    failed: (error) => (this.error = error),
  });

  failing: Error | undefined;

  receive(item: ServerItem, size = 0): void {
    const step = (device: Device): unknown => device.receive(item);
    const happening = this.progress.live.receive(item);
    const told = happening?.kind === "received" ? occurrenceOf(happening.event) : undefined;
    this.progress.told(step, told, size);
  }

  async go(): Promise<void> {
    this.letGo();
    await new Promise((resolve) => setImmediate(resolve));
  }

  get offset(): string | undefined {
    return this.progress.snapshot().position?.offset;
  }
}

async function begun(): Promise<Listeners> {
  const listeners = new Listeners();
  const hello = (device: Device): unknown => device.hello("test");
  listeners.progress.told(hello);
  hello(listeners.progress.live);
  listeners.receive(welcome(5n));
  listeners.receive(caughtUp(5n));
  return listeners;
}

test("the stored position moves past an event only once the listeners have taken it", async () => {
  const listeners = await begun();
  listeners.receive(delivered(6n, event(10n, "bob")));
  listeners.receive(delivered(7n, event(11n, "bob")));
  listeners.receive(caughtUp(8n));
  assert.equal(listeners.progress.live.position?.offset, 8n);
  assert.equal(listeners.offset, "5");
  await listeners.go();
  assert.deepEqual([listeners.taken, listeners.handed], [[10n], [10n, 11n]]);
  assert.equal(listeners.offset, "6");
  await listeners.go();
  assert.equal(listeners.offset, "8");
});

test("what a listener fails on, and what follows, is not taken", async () => {
  const listeners = await begun();
  listeners.receive(delivered(6n, event(10n, "bob")));
  listeners.receive(delivered(7n, event(11n, "bob")));
  listeners.failing = new Error("cannot cope");
  await listeners.go();
  assert.equal(listeners.error, listeners.failing);
  assert.deepEqual([listeners.taken, listeners.handed], [[], [10n]]);
  assert.equal(listeners.offset, "5");
});

test("what does not fit is dropped, and comes again once the rest was taken", async () => {
  const listeners = await begun();
  const large = 600 << 10;
  for (let n = 0n; n < 4n; n++) {
    listeners.receive(delivered(6n + n, event(10n + n, "bob")), large);
  }
  assert.ok(listeners.progress.overrun);
  while (!listeners.drains) await listeners.go();
  assert.deepEqual(listeners.taken, [10n]);
  listeners.progress.backToDealt();
  assert.equal(listeners.progress.live.position?.offset, 6n);
  listeners.receive(delivered(7n, event(11n, "bob")), large);
  await listeners.go();
  assert.deepEqual(listeners.taken, [10n, 11n]);
});
