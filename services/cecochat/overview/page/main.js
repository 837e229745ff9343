// Signs an operator in, and asks the server for the facts every two seconds while somebody looks.

import { at, clear, show } from "./dom.js";
import { showDecisions } from "./decisions.js";
import { listen } from "./find.js";
import { forgetNumbers, showNumbers } from "./numbers.js";
import { forgetPartitions, showPartitions } from "./partitions.js";
import { listenToReports } from "./reports.js";
import { showServers } from "./servers.js";
import { clock, duration } from "./words.js";
import { showWrong } from "./wrong.js";

const KEY = "cecochat-operator-token";
const EVERY_MS = 2_000;
const OLD_MS = 6_000;
const GIVE_UP_MS = 15_000;

let token = taken() ?? sessionStorage.getItem(KEY) ?? "";
let heardAt = 0; // of this tab's clock, so that a wrong one does not matter
let trouble = ""; // why there is no news
let broken = false; // the last news could not be shown
/** @type {number | undefined} */
let timer;

/** Take a token out of the address (#token=...), where it must not stay. */
function taken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return given;
}

class Refused extends Error {}

/** The server's own words, or that there were none. */
class Told extends Error {}

/** @param {string} path @returns {Promise<any>} */
async function ask(path) {
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(GIVE_UP_MS), cache: "no-store" });
  const body = await answer.json().catch(() => null);
  if (answer.ok && body) return body;
  const told = body?.error?.message ?? `this server answers with status ${answer.status}`;
  const message = told.split(": send `")[0]; // the rest is for programs
  throw path === "/overview" && [401, 403].includes(answer.status) ? new Refused(message) : new Told(message);
}

async function look() {
  clearTimeout(timer);
  const asked = token;
  const news = await ask("/overview").catch((error) => error);
  if (asked !== token) return;
  if (news instanceof Refused) return signOut(news.message);
  if (news instanceof Error) noNews(news instanceof Told ? news.message : "this server does not answer");
  else tryToShow(news);
  showAge();
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, EVERY_MS);
}

/** @param {string} why */
function noNews(why) {
  trouble = why;
  if (heardAt) return;
  at("sign-in").hidden = false;
  at("refusal").textContent = `${why}: it is asked again`;
}

/** Show news, or say that this page cannot: a server of another version may say what it does not know.
 * @param {any} facts */
function tryToShow(facts) {
  heardAt = performance.now();
  trouble = "";
  broken = true;
  try {
    showAll(facts);
    broken = false;
  } catch (error) {
    console.error(error);
  }
}

/** @param {any} facts */
function showAll(facts) {
  at("sign-in").hidden = true;
  at("board").hidden = at("operator").hidden = false;
  at("name").textContent = facts.operator.name;
  at("name").title = `scopes: ${facts.operator.scopes.join(", ")}`;
  show("namespace", facts.namespace, () => [facts.namespace]);
  const mayFind = facts.operator.scopes.includes("people");
  at("find-form").hidden = !mayFind;
  at("may-not-find").hidden = mayFind;
  at("reports").hidden = !mayFind;
  for (const part of [showWrong, showNumbers, showServers, showPartitions, showDecisions]) part(facts);
  show("age", facts.at_ms, () => ["as of ", clock(facts.at_ms)]);
}

function showAge() {
  if (!heardAt || at("board").hidden) return;
  const age = performance.now() - heardAt;
  const old = age > OLD_MS;
  at("board").classList.toggle("stale", old || broken);
  if (old) warn(`No news for ${duration(Math.round(age / 1_000) * 1_000)}: ${trouble || "this server is slow"}`);
  else if (broken) warn("This page cannot show all that the server says: load it again");
}

/** @param {string} text in the place of the verdict, which would be of old facts */
function warn(text) {
  at("verdict").className = "warn";
  show("verdict", text, () => [text]);
}

/** @param {string} why */
function signOut(why) {
  token = "";
  heardAt = 0;
  sessionStorage.removeItem(KEY);
  clearTimeout(timer);
  clear();
  forgetNumbers();
  forgetPartitions();
  for (const id of ["found", "queue"]) at(id).replaceChildren();
  for (const id of ["board", "operator"]) at(id).hidden = true;
  at("sign-in").hidden = false;
  at("name").textContent = at("pointed").textContent = at("verdict").className = "";
  document.title = "CecoChat";
  at("refusal").textContent = why;
  at("token").focus();
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = /** @type {HTMLInputElement} */ (at("token"));
  token = field.value.trim();
  field.value = "";
  sessionStorage.setItem(KEY, token);
  at("refusal").textContent = "";
  look();
});
at("leave").addEventListener("click", () => signOut(""));
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : token && look()));
window.addEventListener("hashchange", () => {
  const given = taken();
  if (given) {
    token = given;
    look();
  }
});
setInterval(showAge, 1_000);
listen(ask);
listenToReports(ask);
if (token) look();
else signOut("");
