/** How a user wants to have a chat. All of it is set each time. */
export interface Settings {
  readonly mutedUntil?: Date | undefined;
  readonly archived: boolean;
  readonly pinned: boolean;
  /** The other user of a dialog may go on writing although this one has not answered. */
  readonly accepted?: boolean;
}

/** A time until which a chat is muted that never comes, as the clients have it. */
export const FOR_GOOD = new Date("9999-12-31T23:59:59Z");

/** What is set for one chat: what was told, or what this page wants and has no answer yet. */
export class ChatSettings {
  private told: Settings = { archived: false, pinned: false };
  private toldId = 0n;
  private wanted: { readonly key: string; readonly settings: Settings } | undefined;

  get now(): Settings {
    return this.wanted?.settings ?? this.told;
  }

  isMuted(at = new Date()): boolean {
    const { mutedUntil } = this.now;
    return mutedUntil !== undefined && mutedUntil > at;
  }

  /** Take in what a list of chats has. It may be older than what was told. */
  list(settings: Settings): void {
    if (!this.toldId) this.told = settings;
  }

  /** Take in what a device of the user has set. The highest id counts. */
  tell(id: bigint, settings: Settings, key?: string): void {
    if (id > this.toldId) [this.told, this.toldId] = [settings, id];
    if (key !== undefined) this.settle(key);
  }

  /** Show it as it will be once this is accepted. */
  want(key: string, settings: Settings): void {
    this.wanted = { key, settings };
  }

  /** Forget what was wanted, since it is told now, or was refused. */
  settle(key: string): void {
    if (this.wanted?.key === key) this.wanted = undefined;
  }
}
