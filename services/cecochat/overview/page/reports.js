// The open reports of users, when somebody asks for them: each look is logged.

import { at, make } from "./dom.js";
import { clock } from "./words.js";

/** @param {any} page what /reports says @returns {Node[]} */
function queueOf(page) {
  if (!page.reports.length) return [make("p", { class: "good" }, "No report is open.")];
  const more = page.has_more ? [make("p", { class: "quiet" }, "There are more: `cecochat moderate reports` has them all.")] : [];
  return [make("ol", { class: "queue" }, ...page.reports.map(item)), ...more];
}

/** @param {any} report */
function item(report) {
  const head = make("div", {}, make("b", {}, report.reason), ` ${report.reporter_id} reports ${report.user_id} `, make("code", {}, report.id));
  const made = make("li", {}, day(Number(report.reported_at_ms)), make("div", {}, head));
  const said = report.is_text_erased ? "(erased)" : report.text;
  if (said) made.lastElementChild?.append(make("div", { class: "quiet" }, `${report.reporter_id}: ${said}`));
  if (report.chat_id) made.lastElementChild?.append(make("blockquote", {}, wrote(report)));
  return made;
}

/** @param {number} ms since 1970 @returns {HTMLTimeElement} with the day, as reports may be old */
function day(ms) {
  const made = clock(ms);
  made.textContent = new Date(ms).toLocaleDateString("en-CA");
  return made;
}

/** @param {any} report @returns {string} the message as it is now */
function wrote(report) {
  const message = report.message?.message;
  if (message?.erased) return "(erased)";
  return message?.text || (message?.attachments?.length ? "(files)" : "(it is gone)");
}

/** @param {(path: string) => Promise<any>} ask */
export function listenToReports(ask) {
  at("look-at-reports").addEventListener("click", async () => {
    try {
      at("queue").replaceChildren(...queueOf(await ask("/reports?limit=20")));
    } catch (error) {
      at("queue").replaceChildren(make("p", { class: "bad" }, String(/** @type {Error} */ (error).message)));
    }
  });
}
