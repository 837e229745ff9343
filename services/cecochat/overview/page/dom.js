// Makes elements. Text is only ever set as text, so nothing that servers say becomes markup.

/**
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** @param {string} id @returns {HTMLElement} */
export function at(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

const shown = new Map();

/**
 * Replace the content of an element, unless it was made of the same facts.
 * @param {string} id
 * @param {unknown} facts
 * @param {() => (Node | string)[]} content
 */
export function show(id, facts, content) {
  const told = JSON.stringify(facts);
  if (shown.get(id) === told) return;
  at(id).replaceChildren(...content());
  shown.set(id, told); // and not before, since making it may fail
}

/** Forget and remove all that was shown. */
export function clear() {
  for (const id of shown.keys()) at(id).replaceChildren();
  shown.clear();
}
