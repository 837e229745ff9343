/** Combines what was delivered and read into few receipts, also in a busy chat. */

export interface Mark {
  deliveredUpTo: bigint;
  readUpTo: bigint;
}

/** One mark for each chat, which only moves up. A chat has one receipt under way at a time. */
export class Marks {
  private readonly wanted = new Map<string, Mark>();
  private readonly told = new Map<string, Mark>();
  private readonly underWay = new Set<string>();

  /** Note that a message was delivered, or that a person has read up to it. */
  note(chatId: string, what: keyof Mark, messageId: bigint): void {
    raise(this.wanted, chatId, { deliveredUpTo: 0n, readUpTo: 0n, [what]: messageId });
  }

  /** Return the receipts to send now. Each is under way until it is `answered`. */
  take(): [string, Mark][] {
    const ready = [...this.wanted].filter(([chatId]) => !this.underWay.has(chatId));
    for (const [chatId] of ready) this.wanted.delete(chatId);
    const news = ready.filter(([chatId, mark]) => raise(this.told, chatId, mark));
    for (const [chatId] of news) this.underWay.add(chatId);
    return news;
  }

  /** Note that a chat's receipt was answered. Return whether there is another to send. */
  answered(chatId: string): boolean {
    this.underWay.delete(chatId);
    return this.wanted.has(chatId);
  }

  /** Whether every receipt has been sent and answered. */
  get idle(): boolean {
    return !this.wanted.size && !this.underWay.size;
  }
}

/** Move the mark of a chat up. Return whether it has moved. */
function raise(marks: Map<string, Mark>, chatId: string, to: Mark): boolean {
  const mark = marks.get(chatId) ?? { deliveredUpTo: 0n, readUpTo: 0n };
  const moved = to.deliveredUpTo > mark.deliveredUpTo || to.readUpTo > mark.readUpTo;
  if (to.deliveredUpTo > mark.deliveredUpTo) mark.deliveredUpTo = to.deliveredUpTo;
  if (to.readUpTo > mark.readUpTo) mark.readUpTo = to.readUpTo;
  marks.set(chatId, mark);
  return moved;
}
