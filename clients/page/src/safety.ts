import type { Safety as Given } from "./port";

/** Whom this user blocks, and what they report. `why` says what did not work last. */
export class Safety {
  why = "";
  private blocked = new Set<string>();
  private changes = 0; // made here: a list that was asked for before may lack them

  constructor(
    private readonly given: () => Given | undefined,
    /** Have a screen reader say something, and look again. */
    private readonly announce: (said?: string) => void,
  ) {}

  async load(): Promise<void> {
    const { changes } = this;
    try {
      const blocked = new Set(await this.given()?.blocked());
      if (changes === this.changes) this.blocked = blocked;
    } catch {
      return; // it stays as it was, and the menu still offers to block
    }
    this.announce();
  }

  isBlocked(user: string): boolean {
    return this.blocked.has(user);
  }

  async block(user: string): Promise<void> {
    if (!(await this.does((given) => given.block(user)))) return;
    this.changes++;
    this.blocked.add(user);
    this.announce(`${user} is blocked`);
  }

  async unblock(user: string): Promise<void> {
    if (!(await this.does((given) => given.unblock(user)))) return;
    this.changes++;
    this.blocked.delete(user);
    this.announce(`${user} is not blocked any more`);
  }

  /** Tell the moderators of a message of a chat, or of the user of a dialog. Return whether they have it. */
  async report(peer: string, message: bigint | undefined, reason: string, text: string): Promise<boolean> {
    return this.does((given) => given.report(peer, message, reason, text));
  }

  private async does(what: (given: Given) => Promise<unknown>): Promise<boolean> {
    const given = this.given();
    this.why = "";
    try {
      if (given) await what(given);
    } catch (error) {
      this.why = (error as Error).message;
      this.announce();
    }
    return !!given && !this.why;
  }
}
