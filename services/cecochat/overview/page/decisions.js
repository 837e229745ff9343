// What control has decided, and why.

import { at, make, show } from "./dom.js";
import { clock } from "./words.js";

/** @param {any} facts */
export function showDecisions(facts) {
  const control = facts.control;
  const inCluster = "control" in facts.servers;
  const leads = control ? `${control.server_id} leads, ${facts.standby} stand by${control.paused ? "; it is paused" : ""}` : inCluster ? `nobody leads, ${facts.standby} stand by` : "";
  show("leader", leads, () => [leads]);
  at("decisions").hidden = !inCluster; // one process has no control server
  at("board").classList.toggle("alone", !inCluster);
  const nothing = control ? "nothing yet" : "not known";
  show("decision-list", [facts.decisions, nothing], () =>
    facts.decisions.length ? facts.decisions.map(item) : [make("li", { class: "quiet" }, nothing)]);
}

/** @param {any} decision */
function item(decision) {
  const body = make("div", {}, make("b", {}, what(decision)), ` ${decision.reason}`);
  for (const move of decision.moves ?? []) {
    body.append(make("div", { class: "quiet" }, `${move.partitions}: ${move.from ?? "nobody"} → ${move.to} (${move.reason})`));
  }
  return make("li", {}, clock(decision.at_ms), body);
}

/** @param {any} decision */
function what(decision) {
  if (decision.kind === "scaled") return `scaled ${decision.service} ${decision.before} → ${decision.to}:`;
  return "version" in decision ? `${decision.kind} (version ${decision.version}):` : `${decision.kind}:`;
}
