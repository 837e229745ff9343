import type { Tick } from "../model/message";
import { TICKS } from "../model/message";

const SHAPES: Record<Tick, string[]> = {
  waiting: ["M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11", "M8 5v3.2l2 1.3"],
  refused: ["M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11", "M8 5v3.6", "M8 10.8v.2"],
  sent: ["M3 8.6 6.2 12 13 4.6"],
  delivered: ["M1 8.6 4.2 12 11 4.6", "M7.4 11.6l.4.4 7-7.4"],
  read: ["M1 8.6 4.2 12 11 4.6", "M7.4 11.6l.4.4 7-7.4"],
};

/** How far an own message has come. */
export function TickMark({ tick }: { tick: Tick }) {
  return (
    <svg class={`tick ${tick}`} viewBox="0 0 16 16" role="img" aria-label={TICKS[tick]}>
      <title>{TICKS[tick]}</title>
      {SHAPES[tick].map((each) => (
        <path key={each} d={each} />
      ))}
    </svg>
  );
}

const ICONS = {
  back: "M10 3 5 8l5 5",
  down: "M3 6l5 5 5-5",
  send: "M2.5 13.5 14 8 2.5 2.5 4.4 8zM4.4 8H14",
  people: "M5.5 8a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4M1.5 13c0-2.4 1.6-3.6 4-3.6s4 1.2 4 3.6M10.5 4a2 2 0 0 1 0 3.8M11 9.6c2 .2 3.3 1.4 3.3 3.4",
  clip: "M12.5 7.5 7.6 12.4a3 3 0 0 1-4.3-4.3l5.4-5.4a2 2 0 0 1 2.9 2.9l-5.4 5.4a1 1 0 0 1-1.4-1.4l4.6-4.6",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  pin: "M6 2h4l-.6 4.2 2.6 2.3H4l2.6-2.3zM8 8.5V14",
  archive: "M2 3h12v3H2zM3 6v7h10V6M6.5 8.8h3",
  muted: "M4.5 11V7a3.5 3.5 0 0 1 7 0v4l1 1h-9zM7 14h2M2.5 2.5l11 11",
  heard: "M4.5 11V7a3.5 3.5 0 0 1 7 0v4l1 1h-9zM7 14h2",
  block: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M4.2 4.2l7.6 7.6",
  flag: "M4 14V2.5M4 3h8l-2 2.8 2 2.7H4",
  leave: "M6 2.5H3v11h3M7 8h7M11 5l3 3-3 3",
};

export function Icon({ name }: { name: keyof typeof ICONS }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  );
}
