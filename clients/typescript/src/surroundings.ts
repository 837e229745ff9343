/** What the browser says about the network and about whether anybody looks at the page. */

export interface Watcher {
  online(): void;
  offline(): void;
  visible(): void;
  /** The page is being left. */
  leaving(): void;
}

/** Outside of a browser, it is never hidden and never offline. */
export class Surroundings {
  private readonly off: (() => void)[] = [];

  get hidden(): boolean {
    return globalThis.document?.visibilityState === "hidden";
  }

  get offline(): boolean {
    return globalThis.navigator?.onLine === false;
  }

  watch(watcher: Watcher): void {
    if (!globalThis.document) return;
    this.listen(window, "online", () => watcher.online());
    this.listen(window, "offline", () => watcher.offline());
    this.listen(window, "pagehide", () => watcher.leaving());
    this.listen(document, "visibilitychange", () => {
      (this.hidden ? watcher.leaving : watcher.visible)();
    });
  }

  unwatch(): void {
    this.off.splice(0).forEach((off) => off());
  }

  private listen(target: EventTarget, name: string, listener: () => void): void {
    target.addEventListener(name, listener);
    this.off.push(() => target.removeEventListener(name, listener));
  }
}
