import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { create } from "../src/codec.js";
import type { Occurrence } from "../src/events.js";
import type { ServerItem } from "../src/gen/cecochat/v1/messaging_pb.js";
import { WelcomeSchema } from "../src/gen/schemas.js";
import { Signals } from "../src/signals.js";
import { Watches } from "../src/watches.js";
import { CHAT, delivered, event, item } from "./items.js";

const OTHER = "d:alice~carol";

function world(takesSignals = true): { signals: Signals; told: Occurrence[] } {
  const told: Occurrence[] = [];
  const signals = new Signals(
    (occurrence) => told.push(occurrence),
    () => {},
  );
  signals.begin(create(WelcomeSchema, { takesSignals }));
  return { signals, told };
}

function typing(active: boolean, chatId = CHAT): ServerItem {
  const body = { case: "typing", value: { active } } as const;
  return item({ case: "signal", value: { chatId, userId: "bob", body } });
}

function presence(online: boolean, lastSeenMs = 0n): ServerItem {
  const body = { case: "presence", value: { online, lastSeenMs } } as const;
  return item({ case: "signal", value: { chatId: CHAT, userId: "bob", body } });
}

function refusal(retriable: boolean): ServerItem {
  const error = { code: 6, message: "why", retriable, retryAfterMs: 2_000n };
  return item({ case: "signalRefused", value: { error } });
}

test("a server that takes no signals is told none", () => {
  const { signals } = world(false);
  signals.watch([CHAT]);
  signals.types(CHAT, true);
  signals.hide(true);
  assert.equal(signals.outgoing(), undefined);
});

test("each session is told what is watched, and only the first frame that the user hides", () => {
  const { signals } = world();
  signals.watch([CHAT]);
  signals.hide(true);
  for (const invisible of [true, undefined]) {
    const frame = signals.outgoing();
    assert.deepEqual(frame?.watch?.chatIds, [CHAT]);
    assert.equal(frame?.invisible, invisible);
    assert.equal(signals.outgoing(), undefined);
    assert.deepEqual(signals.hello(), { invisible: true });
    signals.begin(create(WelcomeSchema, { takesSignals: true }));
  }
});

test("each key is said every three seconds, its end once, and a message ends it", () => {
  mock.timers.enable({ apis: ["Date", "setTimeout"], now: 1_000 });
  const { signals } = world();
  const said = (): (boolean | undefined)[] => {
    const frames = [];
    for (let frame = signals.outgoing(); frame; frame = signals.outgoing()) frames.push(frame);
    return frames.map((frame) => frame.typing?.active);
  };
  for (let key = 0; key < 100; key++) signals.types(CHAT, true);
  assert.deepEqual(said(), [true]);
  mock.timers.tick(2_999);
  signals.types(CHAT, true);
  assert.deepEqual(said(), []);
  mock.timers.tick(1);
  signals.types(CHAT, true);
  signals.types(OTHER, true);
  assert.deepEqual(said(), [true, true]);
  signals.types(CHAT, false);
  signals.types(CHAT, false);
  assert.deepEqual(said(), [false]);
  signals.sent(OTHER);
  signals.types(OTHER, false);
  assert.deepEqual(said(), []);
  mock.timers.reset();
});

test("typing is told when it begins, and is over by a word, a message, or by itself", () => {
  mock.timers.enable({ apis: ["Date", "setTimeout"], now: 1_000 });
  const { signals, told } = world();
  signals.receive(typing(true));
  assert.equal(told.length, 0, "nobody watches");
  signals.watch([CHAT]);
  const takes = (item?: ServerItem): (boolean | undefined)[] => {
    told.length = 0;
    if (item) signals.receive(item);
    return told.map((each) => (each.name === "typing" ? each.value.active : undefined));
  };
  assert.deepEqual(takes(typing(true)), [true]);
  assert.deepEqual(takes(typing(true)), []);
  assert.deepEqual(takes(typing(false)), [false]);
  assert.deepEqual(takes(typing(true)), [true]);
  assert.deepEqual(takes(delivered(1n, event(1n, "bob"))), [false]);
  assert.deepEqual(takes(typing(true)), [], "its message has overtaken it");
  mock.timers.tick(1_000);
  assert.deepEqual(takes(typing(true)), [true]);
  told.length = 0;
  mock.timers.tick(5_999);
  assert.equal(told.length, 0);
  mock.timers.tick(1);
  assert.deepEqual(
    told.map((each) => each.value),
    [{ chatId: CHAT, userId: "bob", active: false }],
  );
  mock.timers.reset();
});

test("presence is told with the time when it is known", () => {
  const { signals, told } = world();
  signals.watch([CHAT]);
  assert.ok(signals.receive(presence(true)));
  assert.ok(signals.receive(presence(false, 5_000n)));
  const about = { chatId: CHAT, userId: "bob" };
  assert.deepEqual(
    told.map((each) => each.value),
    [
      { ...about, online: true },
      { ...about, online: false, lastSeen: new Date(5_000) },
    ],
  );
});

test("a refusal that passes is asked again, and another is told", () => {
  mock.timers.enable({ apis: ["Date", "setTimeout"], now: 1_000 });
  const { signals, told } = world();
  signals.watch([CHAT]);
  assert.ok(signals.outgoing());
  signals.receive(refusal(true));
  mock.timers.tick(1_999);
  assert.equal(signals.outgoing(), undefined);
  mock.timers.tick(1);
  assert.deepEqual(signals.outgoing()?.watch?.chatIds, [CHAT]);
  assert.deepEqual(told, []);
  signals.receive(refusal(false));
  assert.deepEqual(
    told.map(({ name }) => name),
    ["signalrefused"],
  );
  mock.timers.reset();
});

test("the leading tab watches what all tabs show that somebody looks at", () => {
  mock.timers.enable({ apis: ["Date"], now: 1_000 });
  const watches = new Watches();
  assert.equal(watches.changed(), undefined);
  watches.watch([CHAT]);
  assert.deepEqual(watches.changed(), [CHAT]);
  watches.heard("tab", [CHAT, OTHER]);
  assert.deepEqual(watches.changed(), [CHAT, OTHER]);
  assert.equal(watches.changed(), undefined);
  mock.timers.tick(5_001);
  assert.deepEqual(watches.changed(), [CHAT]);
  watches.restart();
  assert.deepEqual(watches.changed(), [CHAT]);
  mock.timers.reset();
});

test("a tab that begins to watch is told what the server has told before", () => {
  const watches = new Watches();
  const known = { chatId: CHAT, userId: "bob", online: true };
  watches.watch([CHAT]);
  watches.changed();
  watches.note({ name: "presence", value: known });
  assert.deepEqual(watches.heard("tab", [CHAT]), [{ name: "presence", value: known }]);
  assert.deepEqual(watches.heard("tab", [CHAT]), []);
  watches.watch([]);
  assert.deepEqual(watches.watch([CHAT]), [{ name: "presence", value: known }]);
});
