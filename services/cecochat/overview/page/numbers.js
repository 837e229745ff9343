// What the system does now, each number with its last minutes.

import { make, show } from "./dom.js";
import { duration, number } from "./words.js";

const POINTS = 60;
/** @type {Map<string, number[]>} */
const past = new Map();

/** @param {any} facts */
export function showNumbers(facts) {
  const rates = facts.rates;
  if (!rates) {
    const note = "Rates and latency need a token with the scope metrics.";
    show("numbers", note, () => [make("p", { class: "tile quiet" }, note)]);
    return;
  }
  const stages = rates.stages;
  const tiles = [
    tile("Sends", number(rates.sends_per_s), "/s", "accepted, last 10 s", rates.sends_per_s),
    tile("Deliveries", number(rates.deliveries_per_s), "/s", "to open sessions", rates.deliveries_per_s),
    tile("Sessions", number(rates.sessions), "", `${number(rates.lookups_per_s)} lookups/s`, rates.sessions),
    latency("Acknowledged", stages.acknowledged, rates.measured_s),
    latency("Delivered", stages.delivered, rates.measured_s),
    latency("In the history", stages.materialized, rates.measured_s),
    tile("Lag", number(lag(rates)), "records", `${number(rates.forward_lag_records)} forward, ${number(rates.materialize_lag_records)} history`, lag(rates)),
    tile("Queries", number(rates.queries_per_s), "/s", `${duration(rates.query_ms)} each`, rates.queries_per_s),
  ];
  show("numbers", [facts.at_ms, tiles.length], () => tiles);
}

/** @param {any} rates */
function lag(rates) {
  return Math.max(rates.forward_lag_records, rates.materialize_lag_records);
}

/** @param {string} name @param {any} ages @param {number | null} measured_s over how long it was measured */
function latency(name, ages, measured_s) {
  const [value, unit] = duration(ages ? ages.p50_ms : null).split("\u00a0");
  const none = measured_s ? `no message in ${duration(Math.round(measured_s) * 1_000)}` : "not measured yet";
  const more = ages ? `p99 ${duration(ages.p99_ms)}` : none;
  return tile(name, value, unit ? `${unit} p50` : "", more, ages ? ages.p50_ms : null);
}

/** @param {string} name @param {string} value @param {string} unit @param {string} more @param {number | null} point */
function tile(name, value, unit, more, point) {
  const big = make("dd", { class: "value" }, value, " ", make("small", {}, unit));
  return make("dl", { class: "tile" }, make("dt", {}, name), big, make("dd", { class: "more" }, more), make("dd", {}, line(name, point)));
}

/** @param {string} name @param {number | null} point */
function line(name, point) {
  const points = [...(past.get(name) ?? []), ...(point === null ? [] : [point])].slice(-POINTS);
  past.set(name, points);
  const top = Math.max(...points) || 1;
  const places = points.map((each, at) => `${POINTS - points.length + at},${22 - (20 * each) / top}`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${POINTS - 1} 24`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  drawn.setAttribute("points", places.join(" "));
  svg.append(drawn);
  return svg;
}

/** Forget the last minutes. */
export function forgetNumbers() {
  past.clear();
}
