import assert from "node:assert/strict";
import { test } from "node:test";
import type { Client } from "../src/client.js";
import { type Init, type Schema, create, fromBinary, toBinary } from "../src/codec.js";
import { Device } from "../src/device.js";
import type { Message } from "@bufbuild/protobuf";
import type { GroupChange } from "../src/group.js";
import type { ErrorSchema } from "../src/gen/schemas.js";
import type { Event } from "../src/gen/cecochat/v1/events_pb.js";
import type { ListMembersResponse } from "../src/gen/cecochat/v1/history_pb.js";
import type { ClientFrame, Send, ServerItem } from "../src/gen/cecochat/v1/messaging_pb.js";
import {
  EventSchema,
  GetChatsResponseSchema,
  GetGroupResponseSchema,
  GetMessagesResponseSchema,
  ListMembersRequestSchema,
  ListMembersResponseSchema,
  SendSchema,
} from "../src/gen/schemas.js";
import { partitionOf } from "../src/ids.js";
import { Faker, until } from "./faker.js";
import { ack, caughtUp, delivered, item, welcome } from "./items.js";

const US = "g:us";
const OPTIONS = { name: "Us", isChannel: false, isOpen: true, hidesPast: false };

function change(id: bigint, value: object, userId = "bob"): Event {
  const body = { case: "membership", value } as const;
  return create(EventSchema, { id, userId, chatId: US, clientMessageId: `c${id}`, body });
}

function protobuf<T extends Message>(schema: Schema<T>, init: Init<T>): Response {
  const headers = { "content-type": "application/proto" };
  return new Response(toBinary(schema, create(schema, init)), { headers });
}

function noSuchGroup(): Response {
  const value = btoa("\x08\x13\x12\x02no"); // NOT_FOUND, "no"
  const details = [{ type: "cecochat.v1.Error" satisfies (typeof ErrorSchema)[0], value }];
  return Response.json({ details }, { status: 404 });
}

/** A client that has caught up, what it has sent, and what it was told of groups. */
async function world(...answers: Response[]): Promise<{
  faker: Faker;
  client: Client;
  sends: Send[];
  told: GroupChange[];
  say: (item: ServerItem) => void;
}> {
  const faker = new Faker();
  const sends: Send[] = [];
  faker.query = () => answers.shift() ?? new Response(null, { status: 503 });
  faker.says = ({ hello, sends: given }: ClientFrame) => {
    if (hello) return [welcome(5n), caughtUp(5n)];
    sends.push(...given);
    return given.map((send, at) => ack(BigInt(6 + at), send.clientMessageId, 40n));
  };
  const client = await faker.connect();
  const told: GroupChange[] = [];
  client.on("membership", (value) => told.push(value));
  await until(() => client.status.state === "connected");
  return { faker, client, sends, told, say: (each) => faker.sockets[0]!.say([each]) };
}

test("each change is a send to the group", async () => {
  const { client, sends, told } = await world(
    protobuf(GetGroupResponseSchema, { options: OPTIONS }),
  );
  const { groups } = client;
  const chatId = await groups.create("Us", { members: ["bob"], invited: ["dan"], isOpen: true });
  assert.match(chatId, /^g:[0-9a-f]{32}$/);
  assert.equal(await groups.add(US, ["bob", "carol"]), 40n);
  await groups.remove(US, ["bob"]);
  await groups.invite(US, ["dan"]);
  await groups.ban(US, ["eve"]);
  await groups.unban(US, ["eve"]);
  await groups.join(US);
  await groups.leave(US);
  await groups.appoint(US, "carol", "owner");
  await groups.appoint(US, "bob", "muted");
  await groups.rename(US, "All of us");
  const asked = sends.map(({ chatId, body }) => {
    const init = { chatId: chatId === US ? US : "new", body: body as never };
    return toBinary(SendSchema, create(SendSchema, init));
  });
  const wanted = [
    { addedIds: ["bob"], invitedIds: ["dan"], options: OPTIONS, creates: true },
    { addedIds: ["bob", "carol"] },
    { removedIds: ["bob"] },
    { invitedIds: ["dan"] },
    { bannedIds: ["eve"] },
    { unbannedIds: ["eve"] },
    { addedIds: ["alice"] },
    { removedIds: ["alice"] },
    { appointments: [{ userId: "carol", role: 3 }] },
    { appointments: [{ userId: "bob", role: -1 }] },
    { options: { ...OPTIONS, name: "All of us" } },
  ].map((value, at) => {
    const body = { case: "membership", value } as const;
    return toBinary(SendSchema, create(SendSchema, { chatId: at ? US : "new", body }));
  });
  assert.deepEqual(asked, wanted);
  const [created] = told;
  assert.deepEqual([created?.id, created?.isAsked, created?.added], [40n, true, ["bob"]]);
  await client.close();
});

test("wrong arguments are refused at once", async () => {
  const { client, sends } = await world();
  const { groups } = client;
  for (const wrong of [
    () => groups.create(" "),
    () => groups.create("x".repeat(129)),
    () => groups.create("Us", { isOpen: 1 as never }),
    () => groups.create("Us", { members: ["no name"] }),
    () => groups.create("Us", { chatId: "us" }),
    () => groups.add("d:alice~bob", ["bob"]),
    () => groups.add(US, []),
    () => groups.appoint(US, "bob", "king" as never),
    () => groups.configure(US, {}),
    () => groups.members("bob").next(),
  ]) {
    await assert.rejects(wrong, { code: "invalid_argument" });
  }
  assert.deepEqual(sends, []);
  await client.close();
});

test("a change comes as an event of its own, with what it came to", async () => {
  const { client, told, say } = await world();
  const messages: unknown[] = [];
  client.on("message", (message) => messages.push(message));
  const appointments = [{ userId: "carol", role: 2 }];
  say(delivered(6n, change(50n, { addedIds: ["alice"], appointments, options: OPTIONS })));
  await until(() => told.length);
  const [{ sentAt: _, ...first }] = told as [GroupChange];
  assert.deepEqual(first, {
    kind: "membership",
    id: 50n,
    chatId: US,
    userId: "bob",
    added: ["alice"],
    removed: [],
    invited: [],
    banned: [],
    unbanned: [],
    appointed: [{ userId: "carol", role: "admin" }],
    options: OPTIONS,
    clientMessageId: "c50",
  });
  assert.deepEqual(messages, []);
  await client.close();
});

test("what was told of a group is in what the history answers next", async () => {
  const early = { options: OPTIONS, role: 1, asOf: 49n };
  const { client, told, say } = await world(
    noSuchGroup(), // though nobody has told of a change
    noSuchGroup(),
    protobuf(GetGroupResponseSchema, early),
    protobuf(GetGroupResponseSchema, { ...early, asOf: 50n }),
    noSuchGroup(),
    protobuf(GetMessagesResponseSchema, { messages: [change(50n, { addedIds: ["alice"] })] }),
  );
  await assert.rejects(client.groups.get(US), { code: "not_found" });
  say(delivered(6n, change(50n, { addedIds: ["alice"] })));
  await until(() => told.length);
  const wanted = { chatId: US, ...OPTIONS, role: "member", asOf: 50n };
  assert.deepEqual(await client.groups.get(US), wanted);
  for await (const entry of client.entries(US)) assert.equal("kind" in entry, true);
  await client.close();
});

test("all members are those of one time", async () => {
  const asked: [string, bigint][] = [];
  const pages: Init<ListMembersResponse>[] = [
    { members: [{ userId: "ann", role: 1 }], hasMore: true, asOf: 8n },
    { members: [{ userId: "dan", isInvited: true }], asOf: 8n },
  ];
  const { client, faker } = await world();
  const { queried } = faker;
  faker.query = () => protobuf(ListMembersResponseSchema, pages.shift()!);
  const found = [];
  for await (const member of client.groups.members(US)) found.push(member);
  for (const body of queried) {
    const { afterUserId, asOf } = fromBinary(ListMembersRequestSchema, body);
    asked.push([afterUserId, asOf]);
  }
  assert.deepEqual(found, [
    { userId: "ann", role: "member", isInvited: false },
    { userId: "dan", isInvited: true },
  ]);
  assert.deepEqual(asked, [
    ["", 0n],
    ["ann", 8n],
  ]);
  await client.close();
});

test("a list of chats says what each group is, and history has messages alone", async () => {
  const said = { case: "message", value: { text: "hello" } } as const;
  const message = create(EventSchema, { id: 51n, userId: "bob", chatId: US, body: said });
  const lastMessage = change(50n, { addedIds: ["alice"] });
  const { client } = await world(
    protobuf(GetChatsResponseSchema, {
      chats: [{ chatId: US, lastMessage, options: OPTIONS, role: 2 }],
    }),
    protobuf(GetMessagesResponseSchema, { messages: [lastMessage, message] }),
  );
  const [chat] = await client.chats();
  assert.deepEqual([chat?.options, chat?.role], [OPTIONS, "admin"]);
  assert.deepEqual(chat?.lastGroupChange?.added, ["alice"]);
  assert.equal(chat?.lastMessage?.text, "");
  const texts = [];
  for await (const { text } of client.history(US)) texts.push(text);
  assert.deepEqual(texts, ["hello"]);
  await client.close();
});

test("nobody says of a message in a group that it was delivered", async () => {
  const { client, sends, say } = await world();
  const body = { case: "message", value: { text: "hello" } } as const;
  const [inGroup, inDialog] = [US, "d:alice~bob"].map((chatId, at) =>
    create(EventSchema, { id: BigInt(60 + at), userId: "bob", chatId, body }),
  );
  say(delivered(6n, inGroup!));
  say(delivered(7n, inDialog!));
  await until(() => sends.length);
  assert.deepEqual(
    sends.map(({ chatId }) => chatId),
    ["d:alice~bob"],
  );
  client.markRead(US, 60n);
  await until(() => sends.length > 1);
  assert.equal(sends[1]?.chatId, US);
  await client.close();
});

test("an admin may delete what others wrote", async () => {
  const { client, sends } = await world();
  await client.delete(US, 60n, { asAdmin: true });
  const { body } = sends[0]!;
  assert.ok(body.case === "deletion" && body.value.asAdmin);
  await client.close();
});

test("a group is read from the last that was shown of it", () => {
  const home = partitionOf(US, 12);
  const at = (n: bigint): bigint => (n << 22n) | (BigInt(home) << 10n);
  const device = new Device("alice");
  device.hello("test");
  device.receive(welcome(0n, { [home]: at(5n), 0: 99n << 22n }));
  assert.equal(device.shownUpTo(US), at(5n));
  for (const [n, userId] of [
    [6n, "bob"],
    [7n, "alice"],
  ] as const) {
    device.show(change(at(n), {}, userId));
    assert.equal(device.shownUpTo(US), at(n));
  }
});

test("a change that waits is stored as the Python client stores it", () => {
  const device = new Device("alice");
  const value = {
    addedIds: ["bob"],
    appointments: [{ userId: "bob", role: 2 }],
    options: { name: "Us", isOpen: true },
  };
  const body = { case: "membership", value } as const;
  device.submit(create(SendSchema, { clientMessageId: "c", chatId: US, body }));
  const { outbox } = device.snapshot();
  const membership = { ...value, appointments: [{ userId: "bob", role: "ROLE_ADMIN" }] };
  assert.deepEqual(outbox, [{ clientMessageId: "c", chatId: US, membership }]);
  const again = Device.restored(JSON.parse(JSON.stringify(device.snapshot())));
  assert.deepEqual(again.outbox, device.outbox);
});

test("a refused change is told, without a text", async () => {
  const { client, faker } = await world();
  faker.says = ({ sends }) =>
    sends.map(({ clientMessageId }) =>
      item({ case: "refused", value: { clientMessageId, error: { code: 2, message: "no" } } }),
    );
  const rejected: string[] = [];
  client.on("rejected", ({ chatId, text }) => rejected.push(`${chatId}${text}`));
  await assert.rejects(client.groups.leave(US), { name: "SendRejected" });
  await until(() => rejected.length);
  assert.deepEqual(rejected, [US]);
  await client.close();
});
