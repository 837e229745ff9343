import assert from "node:assert/strict";
import { test } from "node:test";
import type { Change, Message } from "../src/events.js";
import { Timeline, asTheyAre, storedChange } from "../src/timeline.js";

const chatId = "d:alice~bob";
const said: Message = {
  ...{ id: 1n, chatId, userId: "alice", text: "first", clientMessageId: "c1" },
  sentAt: new Date(0),
};
const bob = { chatId, userId: "bob", messageId: 1n };
const alice = { ...bob, userId: "alice" };
const mentions = [{ userId: "bob", start: 0, length: 4 }];
const edit: Change = { ...alice, id: 2n, kind: "edit", text: "@bob", mentions };
const older: Change = { ...alice, id: 2n - 1n, kind: "edit", text: "older" };
const forged: Change = { ...bob, id: 9n, kind: "edit", text: "forged" };
const liked: Change = { ...bob, id: 3n, kind: "reaction", emoji: "👍" };
const unliked: Change = { ...bob, id: 4n, kind: "reaction", emoji: "👍", removed: true };
const deletion: Change = { ...alice, id: 5n, kind: "deletion" };

test("a message is as its changes say, whichever came first", () => {
  for (const changes of [
    [edit, older, forged, liked],
    [liked, forged, edit, older, edit],
  ]) {
    const [before, after] = [new Timeline(), new Timeline()];
    changes.forEach((each) => assert.equal(before.change(each), undefined));
    after.add(said);
    changes.forEach((each) => after.change(each));
    const now = { ...said, text: "@bob", mentions, revisionId: 2n, reactions: [liked] };
    assert.deepEqual(before.add(said), now);
    assert.deepEqual(after.get(1n), now);
    assert.deepEqual(new Timeline().add(now), now); // as the history gives it
  }
});

test("only a change that makes a difference is told", () => {
  const timeline = new Timeline();
  timeline.add(said);
  assert.equal(timeline.change(liked)?.reactions?.length, 1);
  assert.equal(timeline.change(liked), undefined);
  assert.equal(timeline.change(unliked)?.reactions, undefined);
  assert.equal(timeline.change(liked), undefined);
});

test("of a deleted message nothing is left", () => {
  const timeline = new Timeline();
  timeline.add({ ...said, mentions });
  [liked, deletion, edit].forEach((each) => timeline.change(each));
  assert.deepEqual(timeline.get(1n), { ...said, text: "", deletionId: 5n });
});

test("what comes again without its text has none from then on", () => {
  for (const gone of [{ erased: true as const }, { expired: true as const }]) {
    const timeline = new Timeline();
    timeline.add({ ...said, mentions });
    [liked, edit].forEach((each) => timeline.change(each));
    const { mentions: _, ...rest } = said;
    const now = { ...rest, text: "", ...gone };
    assert.deepEqual(timeline.add(now), { ...now, reactions: [liked] });
    assert.deepEqual(timeline.add(said), { ...now, reactions: [liked] });
  }
});

test("changes are stored among messages, and fit into JSON", () => {
  const stored = [said, ...[edit, liked, deletion].map(storedChange)];
  for (const each of stored.slice(1)) {
    const { id: _, ...rest } = each;
    assert.doesNotThrow(() => JSON.stringify(rest));
  }
  assert.deepEqual(asTheyAre(stored.slice(0, 2)), [
    { ...said, text: "@bob", mentions, revisionId: 2n },
  ]);
  assert.deepEqual(asTheyAre(stored), [{ ...said, text: "", deletionId: 5n }]);
  assert.deepEqual(asTheyAre(stored.slice(1)), []); // their message is no longer among the newest
});
