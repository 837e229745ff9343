/**
 * Keeps two copies of a device: one of what has arrived, one of what the listeners have taken.
 *
 * `live` takes every item as it arrives, so that acknowledgements never wait for listeners. `dealt`
 * takes the same steps later. Only `dealt` survives a restart, so an event that was still on its way
 * to the listeners is not lost.
 *
 * The queue between them is bounded, and never blocks the reader. What does not fit is dropped;
 * once the rest was taken, the device goes back to `dealt` and receives it again.
 */

import { Device } from "./device.js";
import type { Occurrence } from "./events.js";
import type { Send } from "./gen/cecochat/v1/messaging_pb.js";

const QUEUE_BYTES = 1 << 20;
const ENTRY_BYTES = 200; // roughly what an entry takes besides its event

export type Step<T = unknown> = (device: Device) => T;

interface Entry {
  step: Step | undefined;
  occurrence: Occurrence | undefined;
  size: number;
}

/** What `Progress` calls. */
export interface Taker {
  /** Hand an event to the listeners. It is taken when this has resolved. */
  take(occurrence: Occurrence): Promise<void>;
  /** Note that an event was taken and `dealt` has moved past it. */
  taken(occurrence: Occurrence): void;
  /** Note that `dealt` has changed. */
  changed(): void;
  /** Note that what was kept of an overrun queue has been taken. */
  drained(): void;
  /** Note that a listener has failed. Nothing more is taken. */
  failed(error: unknown): void;
}

export class Progress {
  live: Device;
  private dealt: Device;
  private readonly queue: Entry[] = [];
  private bytes = 0;
  private busy = false;
  private ended = false;
  overrun = false;

  constructor(
    device: Device,
    private readonly taker: Taker,
  ) {
    this.live = device;
    this.dealt = Device.restored(device.snapshot());
  }

  /** Add a send to the outbox of both devices. */
  submit(send: Send): void {
    this.live.submit(send);
    this.dealt.outbox.set(send.clientMessageId, send);
    this.taker.changed();
  }

  /** Forget a rejected send at once: unlike an accepted one, it must not come back. */
  forget(clientMessageId: string): void {
    this.dealt.outbox.delete(clientMessageId);
    this.taker.changed();
  }

  /** Queue a step of the live device, with the event that tells the listeners, if any. */
  told(step: Step | undefined, occurrence?: Occurrence, size = 0): void {
    if (this.overrun || this.ended) return;
    const idle = !this.busy && !this.queue.length;
    if (idle && !occurrence) return this.apply(step);
    size += ENTRY_BYTES;
    if (!idle && this.bytes + size > QUEUE_BYTES) {
      this.overrun = true;
      return;
    }
    this.queue.push({ step, occurrence, size });
    this.bytes += size;
    void this.pump();
  }

  /** Go back to what the listeners have taken, after an overrun. The stream brings the rest. */
  backToDealt(): void {
    this.live = Device.restored(this.dealt.snapshot());
    this.overrun = false;
  }

  /** Hand out nothing more. What has not been taken comes again when the storage is opened. */
  end(): void {
    this.ended = true;
    this.queue.length = 0;
  }

  snapshot(): ReturnType<Device["snapshot"]> {
    return this.dealt.snapshot();
  }

  private async pump(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      for (let entry = this.queue.shift(); entry; entry = this.queue.shift()) {
        if (entry.occurrence) await this.taker.take(entry.occurrence);
        this.bytes -= entry.size;
        this.apply(entry.step);
        if (entry.occurrence) this.taker.taken(entry.occurrence);
      }
    } catch (error) {
      this.end();
      this.taker.failed(error);
    }
    this.busy = false;
    if (this.overrun) this.taker.drained();
  }

  private apply(step: Step | undefined): void {
    if (!step) return;
    step(this.dealt);
    this.taker.changed();
  }
}
