// "Where is my message?", as a picture of its path.

import { at, make } from "./dom.js";
import { clock, duration } from "./words.js";

const MARKS = { done: "✓", waits: "…", unknown: "?", refused: "✗" };
const WORST = ["refused", "waits", "unknown", "done"];

/** @param {any} found what /where says @returns {Node[]} */
export function pathOf(found) {
  const event = found.event;
  const about = event ? [make("p", {}, `${event.kind} of ${event.user_id} to ${event.recipient_ids.join(", ")}, in ${event.chat_id}`)] : [];
  const verdict = make("p", { class: colour(found.state) }, make("b", {}, found.verdict));
  const names = [...new Set(found.steps.map((/** @type {any} */ step) => step.name))];
  const accepted = found.steps.find((/** @type {any} */ step) => step.name === "accepted")?.at_ms ?? null;
  const stages = names.map((name) => stage(String(name), found.steps.filter((/** @type {any} */ step) => step.name === name), accepted));
  const trace = found.trace_id ? [make("p", { class: "quiet" }, "trace ", make("code", {}, found.trace_id))] : [];
  return [verdict, ...about, make("ol", { class: "path" }, ...stages), ...trace];
}

/** @param {string} state */
function colour(state) {
  return state === "arrived" ? "good" : state === "on_its_way" ? "warn" : "bad";
}

/** @param {string} name @param {any[]} steps @param {number | null} accepted */
function stage(name, steps, accepted) {
  const state = WORST.find((each) => steps.some((step) => step.state === each)) ?? "unknown";
  const mark = MARKS[/** @type {keyof typeof MARKS} */ (state)];
  return make("li", { class: `stage ${state}`, "data-mark": mark }, make("b", {}, name), make("ul", {}, ...steps.map((step) => item(step, accepted))));
}

/** @param {any} step @param {number | null} accepted */
function item(step, accepted) {
  const made = make("li", { class: step.state });
  if (step.subject) made.append(make("b", {}, `${step.subject} `));
  if (step.at_ms !== null) made.append(when(step, accepted), " ");
  made.append(step.state === "done" ? step.text : `${WORDS[/** @type {keyof typeof WORDS} */ (step.state)]}: ${step.text}`);
  return made;
}

const WORDS = { waits: "waits", unknown: "not known", refused: "refused" };

/** @param {any} step @param {number | null} accepted */
function when(step, accepted) {
  const time = clock(step.at_ms);
  if (step.name !== "accepted" && accepted !== null) time.textContent = `after ${duration(Math.max(0, step.at_ms - accepted))}`;
  return time;
}

/** @param {(path: string) => Promise<any>} ask */
export function listen(ask) {
  at("find-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const id = /** @type {HTMLInputElement} */ (at("message-id")).value.trim();
    const chat = /** @type {HTMLInputElement} */ (at("chat-id")).value.trim();
    const query = chat ? `?${new URLSearchParams({ chat })}` : "";
    try {
      at("found").replaceChildren(...pathOf(await ask(`/where/${encodeURIComponent(id)}${query}`)));
    } catch (error) {
      at("found").replaceChildren(make("p", { class: "bad" }, String(/** @type {Error} */ (error).message)));
    }
  });
}
