import assert from "node:assert/strict";
import { test } from "node:test";
import { chatOf, partitionIn, partitionOf, timeOf } from "../src/ids.js";

test("a user is on the same partition as in Kafka and in the Python client", () => {
  const users = ["alice", "bob", "a", "ab", "abc", "abcd", "user-12345", "x".repeat(64)];
  assert.deepEqual(
    users.map((user) => partitionOf(user, 12)),
    [9, 6, 4, 2, 3, 8, 7, 5],
  );
  const many = users.map((user) => partitionOf(user, 4096));
  assert.deepEqual(many, [1429, 2766, 636, 1578, 539, 1524, 3859, 525]);
});

test("a message id says its sender's partition and its time", () => {
  const id = (1_000n << 22n) | (9n << 10n) | 3n;
  assert.equal(partitionIn(id), 9);
  assert.equal(timeOf(id).toISOString(), "2020-01-01T00:00:01.000Z");
});

test("a chat is named by its id or by the other user", () => {
  assert.equal(chatOf("bob", "alice"), "d:alice~bob");
  assert.equal(chatOf("a", "B"), "d:B~a"); // in byte order
  assert.equal(chatOf("bob", "d:alice~bob"), "d:alice~bob");
  assert.equal(chatOf("bob", "g:team"), "g:team");
  assert.equal(chatOf("shop/bob", "shop/alice"), "d:shop/alice~shop/bob");
  assert.equal(chatOf("shop/bob", "d:shop/alice~shop/bob"), "d:shop/alice~shop/bob");
  assert.equal(chatOf("shop/bob", "g:shop/team"), "g:shop/team");
  for (const other of ["alice", "news/alice", "shop/", "/alice", "Shop/alice", "d:shop/a~shop2/b"])
    assert.equal(chatOf("shop/bob", other), undefined, other);
  for (const wrong of ["bob", "", "d:bob~alice", "two words", "x".repeat(65), "d:a~b~c"]) {
    assert.equal(chatOf("bob", wrong), undefined, wrong);
  }
});
