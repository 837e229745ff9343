/** What all tabs of a user watch, as the tab that leads knows it. */

import type { Occurrence } from "./events.js";

const HEARD_MS = 5_000; // after which a tab that says nothing watches nothing
const MAX = 64; // of all tabs together

export class Watches {
  /** What this tab watches. */
  ours: readonly string[] = [];
  private readonly others = new Map<string, [number, readonly string[]]>(); // by tab, and when
  private readonly presence = new Map<string, Occurrence>(); // by chat, as it was told last
  private said = "";

  /**
   * Note what another tab watches. Return what is known of the chats that are new to it: the server
   * tells it only once.
   */
  heard(tab: string, chatIds: readonly string[]): Occurrence[] {
    const before = this.others.get(tab)?.[1] ?? [];
    this.others.set(tab, [Date.now(), chatIds]);
    return this.known(chatIds, before);
  }

  /** Note what this tab watches. Return what is known of the chats that are new to it. */
  watch(chatIds: readonly string[]): Occurrence[] {
    const before = this.ours;
    this.ours = chatIds;
    return this.known(chatIds, before);
  }

  private known(chatIds: readonly string[], before: readonly string[]): Occurrence[] {
    return chatIds
      .filter((each) => !before.includes(each))
      .flatMap((each) => {
        const known = this.presence.get(each);
        return known ? [known] : [];
      });
  }

  note(occurrence: Occurrence): void {
    if (occurrence.name === "presence") this.presence.set(occurrence.value.chatId, occurrence);
  }

  /** Return what all tabs watch, if that has changed. */
  changed(): readonly string[] | undefined {
    for (const [tab, [ms]] of this.others) if (ms < Date.now() - HEARD_MS) this.others.delete(tab);
    const theirs = [...this.others.values()].flatMap(([, chatIds]) => chatIds);
    const all = [...new Set([...this.ours, ...theirs])].slice(0, MAX);
    if (all.join() === this.said) return undefined;
    this.said = all.join();
    for (const chatId of this.presence.keys()) {
      if (!all.includes(chatId)) this.presence.delete(chatId);
    }
    return all;
  }

  /** Note that this tab begins to lead: its server knows of nothing. */
  restart(): void {
    this.said = "";
    this.presence.clear();
  }
}
