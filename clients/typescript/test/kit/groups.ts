/** The rules of the client about groups and settings less one each, by their names in `conformance/rules.json`. */

import { Device } from "../../src/device.js";
import type { GetChatsResponse } from "../../src/gen/cecochat/v1/history_pb.js";
import type { Ack, Delivered } from "../../src/gen/cecochat/v1/messaging_pb.js";
import { isGroup } from "../../src/ids.js";
import { LocalDevice } from "../../src/local.js";
import { Queries } from "../../src/queries.js";
import { type Ablation, ablation } from "./ablation.js";
import { shows, stores } from "./ways.js";

export const GROUP_ABLATIONS: Record<string, Ablation[]> = {
  "changes of groups are shown": [
    shows((_, event, show) => {
      const happening = show();
      return event.body.case === "membership" ? undefined : happening;
    }),
  ],
  "changes of groups are stored as they are sent": [stores(({ membership, ...rest }) => rest)],
  "a group is read from its highest mark": [
    ablation(
      Device,
      "shownUpTo",
      (shownUpTo) =>
        function (chatId: string) {
          if (!isGroup(chatId)) return shownUpTo.call(this, chatId);
          const marks: bigint[] = [...(this.shown.get(chatId)?.values() ?? [])];
          return marks.reduce((a, b) => (a < b ? a : b), marks[0] ?? 0n);
        },
    ),
  ],
  "a group lives where its chat id says": [
    ablation(
      Device,
      "shownUpTo",
      (shownUpTo) =>
        function (chatId: string) {
          const { partitionOf } = this;
          this.partitionOf = (name: string, count: number) =>
            partitionOf(isGroup(name) ? this.userId : name, count);
          const found = shownUpTo.call(this, chatId);
          this.partitionOf = partitionOf;
          return found;
        },
    ),
  ],
  "what a user sets for a group is no part of it": [
    ablation(
      Device,
      "marks",
      () =>
        function (chatId: string) {
          if (!this.shown.has(chatId)) this.shown.set(chatId, new Map());
          return this.shown.get(chatId);
        },
    ),
  ],
  "what a home has accepted is asked for there": [
    ablation(
      LocalDevice,
      "noteAccepted",
      (noteAccepted) =>
        function (accepted: Ack | Delivered) {
          noteAccepted.call(this, { ...accepted, homeOffset: 0n });
        },
    ),
  ],
  "settings of a chat are shown": [
    shows((_, event, show) => {
      const happening = show();
      return event.body.case === "settings" ? undefined : happening;
    }),
  ],
  "settings of a chat are stored as they are sent": [stores(({ settings, ...rest }) => rest)],
  "a gap is filled with settings, too": [
    ablation(
      Queries,
      "chats",
      (chats) =>
        async function (request: object) {
          const answer: GetChatsResponse = await chats.call(this, request);
          return {
            ...answer,
            chats: answer.chats.map((chat) => ({ ...chat, settingsId: 0n })),
          };
        },
    ),
  ],
  "what a message carries is stored as it is sent": [
    stores((send) => {
      const { attachments, ...rest } = send.message ?? {};
      return send.message ? { ...send, message: rest } : send;
    }),
  ],
};
