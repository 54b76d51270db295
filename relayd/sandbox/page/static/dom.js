// Makes elements, formats figures, talks to the sandbox. Text only ever becomes text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const $ = (id) => document.getElementById(id);

// Changes text only where it differs, so that screen readers and selections are left alone.
export const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (value) => number.format(value);
export const plural = (value, one, many) => `${count(value)} ${value === 1 ? one : many ?? one + "s"}`;

export const duration = (ms) => {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 100) return `${ms.toFixed(1)} ms`;
  if (ms < 10_000) return `${number.format(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
};

export const bytes = (value) => (value < 1000 ? `${value} B` : `${(value / 1000).toFixed(1)} kB`);

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const time = (seconds) => clock.format(new Date(seconds * 1000));

const token = document.querySelector("meta[name=relayd-token]").content;

export const get = async (path) => {
  const answer = await fetch(path, { signal: AbortSignal.timeout(15_000) });
  if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { status: answer.status });
  return answer.json();
};

export const post = async (path, value) => {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-relayd-token": token },
    body: JSON.stringify(value),
  });
  const told = await answer.json().catch(() => ({ error: `the sandbox answered ${answer.status}` }));
  if (!answer.ok) throw Object.assign(new Error(told.error), { field: told.field });
  return told;
};

export const WORDS = {
  waiting: ["…", "on its way"],
  forwarded: ["✓", "forwarded"],
  replied: ["↩", "replied"],
  held: ["‖", "held back"],
  discarded: ["⊘", "discarded"],
  failed: ["!", "failed"],
  dead: ["✕", "dead-lettered"],
  notice: ["✉", "notice"],
};

// What became of one delivery, as a word of those above.
export const ended = (end) => (end.state === "sent" ? { forward: "forwarded", reply: "replied", notice: "notice" }[end.kind] : end.held ? "held" : end.state);

export const badge = (state) =>
  h("span", { class: `badge ${state}` }, h("span", { "aria-hidden": "true" }, WORDS[state][0]), ` ${WORDS[state][1]}`);
