// What is wrong: what `cecochat status` warns of, and the alerts of Prometheus.

import { at, make, show } from "./dom.js";
import { counted, duration } from "./words.js";

/** @param {any} facts */
export function showWrong(facts) {
  const alerts = facts.alerts.alerts;
  const firing = alerts.filter((/** @type {any} */ each) => each.state === "firing");
  const count = facts.wrong.length + firing.length;
  at("wrong").classList.toggle("any", count + alerts.length > 0);
  const told = [facts.wrong, alerts.map((/** @type {any} */ each) => [each, since(facts, each)])];
  show("wrong-list", told, () => [
    ...facts.wrong.map((/** @type {string} */ text) => line("wrong", "bad", text)),
    ...alerts.map((/** @type {any} */ each) => alertLine(facts, each)),
  ]);
  show("judges", [facts.alerts.prometheus, facts.alerts.why, count], () => judges(facts.alerts, count));
  verdict(count, facts.alerts.why);
}

/** @param {any} facts @param {any} alert */
function since(facts, alert) {
  return duration(Math.max(0, Math.round((facts.at_ms - alert.since_ms) / 1_000) * 1_000));
}

/** @param {any} facts @param {any} alert */
function alertLine(facts, alert) {
  const fires = alert.state === "firing";
  const about = [alert.description, alert.runbook].filter(Boolean).join(" ");
  const text = `${alert.summary || alert.name}, for ${since(facts, alert)}`;
  const kind = fires ? alert.severity || "alert" : "soon";
  return line(kind, fires && alert.severity === "critical" ? "bad" : "warn", text, about);
}

/** @param {string} kind @param {string} colour @param {string} text @param {string} [more] */
function line(kind, colour, text, more) {
  const body = make("span", {}, text);
  if (more) body.append(make("span", { class: "quiet" }, ` ${more}`));
  return make("li", {}, make("b", { class: colour }, kind), body);
}

/** @param {any} alerts @param {number} count */
function judges(alerts, count) {
  const all = count ? "" : "Nothing is wrong. ";
  if (alerts.why) return [`${all}${alerts.why}.`];
  if (alerts.prometheus) return [`${all}Judged by cecochat status, and by the alerts of ${alerts.prometheus}.`];
  return [`${all}Judged by cecochat status. No Prometheus is set (CECOCHAT_PROMETHEUS_URL), so there are no alerts.`];
}

/** @param {number} count @param {string} unknown why alerts are not known */
function verdict(count, unknown) {
  const text = count ? `${counted(count, "thing")} wrong` : unknown ? "Alerts are not known" : "All is well";
  const colour = count ? "bad" : unknown ? "warn" : "good";
  at("verdict").className = colour;
  show("verdict", text, () => [text]);
  document.title = `${count ? `(${count}) ` : ""}CecoChat`;
  at("icon").setAttribute("href", count ? "/page/icon-wrong.svg" : "/page/icon.svg");
}
