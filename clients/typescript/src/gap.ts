/** Fills a gap: fetches what the log no longer has from the history, page by page. */

import { EventSchema } from "./gen/schemas.js";
import { create } from "./codec.js";
import { holeOf, markOf } from "./events.js";
import type { Event } from "./gen/cecochat/v1/events_pb.js";
import type { Chat, GetMessagesResponse, Hole } from "./gen/cecochat/v1/history_pb.js";
import type { Gap, ReadToken } from "./gen/cecochat/v1/messaging_pb.js";
import type { LocalDevice } from "./local.js";
import type { Queries } from "./queries.js";
import { settingsIn } from "./settings.js";

export class Filling {
  constructor(
    private readonly local: LocalDevice,
    private readonly queries: Queries,
  ) {}

  /** Fill the gap. If this fails, the next session is told of the gap again. */
  async fill(gap: Gap): Promise<void> {
    const token = gap.token!;
    const listed = new Set<string>();
    const holes: Hole[] = [];
    for await (const page of this.queries.chatsById(token)) {
      for (const chat of page.chats) {
        await this.fillChat(chat, token);
        listed.add(chat.chatId);
      }
      holes.push(...page.holes);
    }
    for (const hole of byId(holes)) {
      const unseen = hole.lastId > this.shownUpTo(hole.chatId);
      if (!listed.has(hole.chatId) && unseen) this.takeHole(hole);
    }
    this.local.filled();
  }

  private shownUpTo(chatId: string): bigint {
    return this.local.progress.live.shownUpTo(chatId);
  }

  private async fillChat(chat: Chat, token: ReadToken): Promise<void> {
    const { chatId } = chat;
    let { marks } = chat;
    let unfilled = settingsIn(chat, this.local.userId);
    const low = this.shownUpTo(chatId);
    const ids = [
      chat.lastMessage?.id ?? 0n,
      chat.lastChangeId,
      ...chat.holes.map((hole) => hole.lastId),
    ];
    if (ids.some((id) => id > low)) {
      for await (const page of this.queries.pagesAfter(chatId, low, token)) {
        unfilled = this.fillPage(page, unfilled);
        marks = page.marks; // newer than those of the list of chats
      }
    }
    if (unfilled) this.local.fill(unfilled);
    for (const mark of marks) {
      if (mark.userId === this.local.userId) continue;
      this.local.tell({ name: "receipt", value: markOf(chatId, mark) });
    }
  }

  /**
   * Take messages, changes of messages, holes and what the user has set in the order of their ids.
   * Return the settings if they come later.
   */
  private fillPage(page: GetMessagesResponse, settings: Event | undefined): Event | undefined {
    const holes = byId(page.holes);
    for (const event of page.messages) {
      while (holes.length && holes[0]!.firstId < event.id) this.takeHole(holes.shift()!);
      if (settings && settings.id < event.id) {
        this.local.fill(settings);
        settings = undefined;
      }
      this.local.fill(event);
    }
    holes.forEach((hole) => this.takeHole(hole));
    return settings;
  }

  /** Tell of a hole. If it is one known message, that counts as shown, or as sent if it is own. */
  private takeHole(hole: Hole): void {
    this.local.tell({ name: "hole", value: holeOf(hole) });
    const { firstId: id, chatId, userId, clientMessageId } = hole;
    if (clientMessageId) {
      this.local.fill(create(EventSchema, { id, chatId, userId, clientMessageId }));
    }
  }
}

function byId(holes: Hole[]): Hole[] {
  return [...holes].sort((a, b) => (a.firstId < b.firstId ? -1 : 1));
}
