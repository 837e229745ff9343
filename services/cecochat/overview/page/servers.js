// The servers of each kind: those that are not well first, and those that have left.

import { make, show } from "./dom.js";
import { duration, number } from "./words.js";

/** @param {any} facts */
export function showServers(facts) {
  const kinds = Object.entries(facts.servers).map(([service, live]) => kind(service, /** @type {any[]} */ (live), facts));
  show("server-list", kinds, () => kinds.map(table));
}

/** @param {string} service @param {any[]} live @param {any} facts */
function kind(service, live, facts) {
  const set = facts.control?.sets[service];
  const lacks = set?.wanted != null && live.length < set.wanted;
  const gone = facts.gone.filter((/** @type {any} */ each) => each.service === service);
  const rows = [...live.map((each) => liveRow(each, facts)), ...gone.map((/** @type {any} */ each) => goneRow(each, facts, lacks))];
  rows.sort((a, b) => a.rank - b.rank);
  const versions = [...new Set(live.map((each) => each.version))];
  return { service, about: about(live.length, set, versions), rows: rows.map((row) => ({ ...row, version: versions.length > 1 ? row.version : "" })) };
}

/** @param {any} server @param {any} facts */
function liveRow(server, facts) {
  const about = { id: server.instance_id, version: server.version };
  if (!server.not_ready) return { ...about, rank: 2, colour: "good", state: "ready" };
  const silent = server.answered_ms !== facts.at_ms;
  const last = server.answered_ms ? `, last ${age(facts, server.answered_ms)} ago` : "";
  return { ...about, rank: 0, colour: "bad", state: server.not_ready + (silent ? last : "") };
}

/** @param {any} server @param {any} facts @param {boolean} lacks */
function goneRow(server, facts, lacks) {
  const state = `gone for ${age(facts, server.gone_ms)}`;
  return { id: server.instance_id, version: server.version, rank: lacks ? 1 : 3, colour: lacks ? "bad" : "quiet", state };
}

/** @param {any} facts @param {number} since_ms */
function age(facts, since_ms) {
  return duration(Math.max(0, Math.round((facts.at_ms - since_ms) / 1_000)) * 1_000);
}

/** @param {number} live @param {any} set @param {string[]} versions */
function about(live, set, versions) {
  const scaled = set?.wanted != null;
  const loads = [...(set?.loads ?? []).map((/** @type {any} */ each) => `${number(each.total)} ${each.name}`), ...(set?.strains ?? []).map((/** @type {any} */ each) => `${number(each.value)} ${each.name}`)];
  return [
    scaled ? `${live} of ${set.wanted} live` : `${live} live`,
    ...(versions.length === 1 ? [`version ${versions[0]}`] : []),
    ...(scaled ? [`limits ${set.min}-${set.max}`] : []),
    ...loads,
    ...(set?.next ? [`next: ${set.next.to}, ${set.next.reason}`] : []),
  ].join(" · ");
}

/** @param {any} kind */
function table(kind) {
  const caption = make("caption", {}, make("b", {}, kind.service), " ", make("span", { class: "quiet" }, kind.about));
  const rows = kind.rows.map((/** @type {any} */ row) =>
    make("tr", {}, make("td", { class: "id" }, row.id), make("td", { class: row.colour }, row.state), ...(row.version ? [make("td", { class: "quiet number" }, row.version)] : [])));
  return make("table", {}, caption, make("tbody", {}, ...rows));
}
