/** Saves the device and what it has shown, in one piece, one save at a time. */

import type { Message } from "./events.js";
import type { Snapshot } from "./snapshot.js";
import type { Kept } from "./storage.js";

const KEEP_EVERY_MS = 100;

export class Keeper {
  failed: (error: unknown) => void = () => {};
  private messages: Message[] = [];
  private isDirty = false;
  private saving: Promise<void> | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly kept: Kept,
    private readonly snapshot: () => Snapshot,
  ) {}

  /** Note that the device has changed. It is saved soon. */
  changed(): void {
    this.isDirty = true;
    this.timer ??= setTimeout(() => this.keep().catch(this.failed), KEEP_EVERY_MS);
  }

  /** Note a message, which is saved together with the device. */
  message(message: Message): void {
    this.messages.push(message);
    this.changed();
  }

  /**
   * Save now if anything has changed. It is durable when this has resolved. If it rejects, what has
   * changed is still to be saved: the next call tries that again.
   */
  async keep(): Promise<void> {
    while (this.saving) await this.saving;
    if (!this.isDirty) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.isDirty = false;
    const messages = this.messages.splice(0);
    try {
      await (this.saving = this.kept.save(this.snapshot(), messages));
    } catch (error) {
      this.isDirty = true;
      this.messages.unshift(...messages);
      throw error;
    } finally {
      this.saving = undefined;
    }
  }
}
