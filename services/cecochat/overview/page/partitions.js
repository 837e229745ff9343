// Who owns which partition: a square for each, a colour and a letter for each owner, and what moves.

import { at, make, show } from "./dom.js";
import { counted, duration, ranges } from "./words.js";

const LOST = ["nobody", "not live"];
const FEW = 64;
const ROW = 16; // squares; twice as many where there is room
const FRESH_MS = 20_000;

/** @type {string[]} owners in the order in which they were seen, so that each keeps its colour */
const known = [];
/** @type {Map<number, {owner: string, at: number}>} */
const before = new Map();

/** @param {any} facts */
export function showPartitions(facts) {
  const ownership = facts.ownership;
  if (!ownership) {
    const why = facts.unread ? "Nobody can say which partitions are assigned." : "No partition is assigned.";
    show("map", why, () => [why]);
    for (const id of ["owners", "moving"]) show(id, null, () => []);
    return;
  }
  const cells = cellsOf(ownership, facts.at_ms);
  show("map", cells, () => [map(cells, ownership)]);
  show("owners", ownership.rows, () => [owners(ownership)]);
  show("moving", [moving(ownership), facts.at_ms * Number(ownership.stale)], () => [moving(ownership) + stale(ownership, facts)]);
}

/** @param {any} ownership @param {number} now */
function cellsOf(ownership, now) {
  /** @type {any[]} */
  const cells = [];
  for (const row of [...ownership.rows].sort((a, b) => String(a.server_id).localeCompare(String(b.server_id)))) {
    if (row.server_id && !known.includes(row.server_id)) known.push(row.server_id);
    for (const partition of row.partitions) {
      const owner = row.server_id ?? "";
      const last = before.get(partition);
      if (!last || last.owner !== owner) before.set(partition, { owner, at: last ? now : 0 });
      const fresh = now - (before.get(partition)?.at ?? 0) < FRESH_MS;
      cells.push({ partition, owner, state: row.state, fresh });
    }
  }
  return cells.sort((a, b) => a.partition - b.partition);
}

/** @param {any[]} cells @param {any} ownership */
function map(cells, ownership) {
  const states = ownership.rows.map((/** @type {any} */ row) => `${row.partitions.length} ${row.state} at ${row.server_id ?? "nobody"}`);
  const kind = cells.length <= FEW ? "squares few" : "squares";
  const drawn = make("div", { class: kind, role: "img", "aria-label": `${cells.length} partitions: ${states.join(", ")}` });
  drawn.append(...cells.flatMap((each) => (each.partition % ROW ? [cell(each)] : [row(each.partition), cell(each)])));
  drawn.addEventListener("pointerover", (event) => {
    const said = event.target instanceof HTMLElement ? event.target.dataset.says : "";
    at("pointed").textContent = said ?? "";
  });
  return drawn;
}

/** @param {any} each */
function cell(each) {
  const says = `partition ${each.partition}: ${each.owner || "nobody"}, ${each.state}`;
  const made = make("span", { class: `cell ${look(each)}`, "data-says": says, title: says }, sign(each));
  made.style.setProperty("--hue", hue(each.owner));
  return made;
}

/** @param {number} first the partition with which a row begins */
function row(first) {
  return make("span", { class: (first / ROW) % 2 ? "row odd" : "row" }, String(first));
}

/** @param {any} each */
function look(each) {
  if (each.state === "taking over") return "moves";
  if (LOST.includes(each.state)) return "lost";
  if (each.state === "silent") return "silent";
  return each.fresh ? "arrived" : "";
}

/** @param {any} each */
function sign(each) {
  if (LOST.includes(each.state)) return "×";
  return each.state === "silent" ? "?" : letter(each.owner);
}

/** @param {string} owner @returns {string} A to Z, then A2 and so on */
function letter(owner) {
  const at = known.indexOf(owner);
  const round = Math.floor(at / 26);
  return at < 0 ? "" : String.fromCharCode(65 + (at % 26)) + (round ? String(round + 1) : "");
}

/** @param {string} owner @returns {string} degrees; neighbours are far from each other */
function hue(owner) {
  return String(Math.round((250 + known.indexOf(owner) * 137.5) % 360));
}

/** @param {any} ownership */
function owners(ownership) {
  const worst = [...ownership.rows].sort((a, b) => rank(a) - rank(b));
  const rows = worst.map((/** @type {any} */ row) => {
    const mark = make("span", { class: "owner", "aria-hidden": "true" }, letter(row.server_id ?? "") || "×");
    mark.style.setProperty("--hue", hue(row.server_id ?? ""));
    const colour = LOST.includes(row.state) ? "bad" : row.state === "owned" || row.state === "live" ? "" : "warn";
    return make("tr", {}, make("td", {}, mark), make("td", { class: "id" }, row.server_id ?? "nobody"), make("td", { class: colour }, row.state), make("td", { class: "number" }, String(row.partitions.length)), make("td", { class: "id" }, ranges(row.partitions) || "-"));
  });
  const head = make("tr", {}, make("td", {}), th("Server"), th("State"), th("Count", "number"), th("Partitions"));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

/** @param {any} row */
function rank(row) {
  return [...LOST, "silent", "taking over", "owned"].indexOf(row.state) + (row.state === "live" ? 9 : 0);
}

/** @param {string} text @param {string} [kind] */
function th(text, kind = "") {
  return make("th", { scope: "col", class: kind }, text);
}

/** @param {any} ownership */
function moving(ownership) {
  const count = ownership.rows.filter((/** @type {any} */ row) => row.state === "taking over").flatMap((/** @type {any} */ row) => row.partitions).length;
  const moves = count ? `${counted(count, "partition")} moving` : "nothing moves";
  return `${moves} · version ${ownership.version} by ${ownership.changed_by}`;
}

/** @param {any} ownership @param {any} facts */
function stale(ownership, facts) {
  return ownership.stale ? ` · as of ${duration(facts.at_ms - ownership.read_ms)} ago` : "";
}

/** Forget who owned what. */
export function forgetPartitions() {
  known.length = 0;
  before.clear();
}
