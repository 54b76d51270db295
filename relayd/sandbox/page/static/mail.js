// One mail: what became of it, its trace as a waterfall, its text and HTML, its header before and after, its source.

import { $, badge, bytes, count, duration, ended, get, h, plural, time } from "./dom.js";
import { title } from "./list.js";

const TABS = [
  ["trace", "Trace"],
  ["text", "Text"],
  ["html", "HTML"],
  ["headers", "Headers"],
  ["source", "Source"],
];
const CHANGES = {
  kept: ["=", "kept"],
  rewritten: ["~", "rewritten"],
  removed: ["−", "removed"],
  added: ["+", "added"],
};

let open = null; // { id, tab, version, whole, drawn }
let facts = {};

export const begin = (start) => {
  facts = start.facts;
};

export const close = () => {
  open = null;
};

export const show = async (id, tab) => {
  const known = TABS.some(([name]) => name === tab) ? tab : "trace";
  if (open?.id === id) {
    open.tab = known;
    open.given = true;
    return draw(true);
  }
  open = { id, tab: known, given: known === tab, version: "received", drawn: "" };
  $("detail").replaceChildren(h("p", { class: "hint" }, "…"));
  await refresh();
};

// Asked again while it is on the screen: deliveries end, spans arrive.
export const refresh = async () => {
  if (!open) return;
  const { id } = open;
  try {
    const whole = await get(`/api/mails/${encodeURIComponent(id)}`);
    if (open?.id !== id) return;
    open.whole = whole;
    // No mail came in before a notice, so there is no trace to begin with.
    if (whole.is_notice && !open.given) open.tab = "text";
    if (!whole.versions.some((one) => one.version === open.version)) open.version = whole.versions[0]?.version ?? "";
    draw(false);
  } catch (error) {
    if (open?.id !== id || open.whole) return;
    $("detail").replaceChildren(back(), h("p", { class: "hint" }, error.status === 404 ? "This mail is no longer known here." : "The sandbox does not answer."));
  }
};

const back = () => h("a", { class: "back", href: "#/" }, "← All mail");

const draw = (always) => {
  const { whole, tab } = open;
  const drawn = JSON.stringify([whole, tab, open.version]);
  if (!whole || (!always && drawn === open.drawn)) return;
  // What is being read (a frame, a scrolled source) stays unless it has changed.
  const bodySame = !always && open.bodyKey === bodyKey();
  open.drawn = drawn;
  const focused = document.activeElement?.id;
  const panel = bodySame ? $("panel") : h("div", { id: "panel", role: "tabpanel", "aria-labelledby": `tab-${tab}`, tabindex: "0" });
  $("detail").replaceChildren(back(), head(whole), outcomes(whole), answers(whole), whole.is_mail ? tabs(whole) : deadBody(whole), whole.is_mail ? panel : "");
  if (focused) $(focused)?.focus({ preventScroll: true });
  if (!bodySame && whole.is_mail) {
    open.bodyKey = bodyKey();
    fillPanel(panel);
  }
};

const bodyKey = () => {
  const { whole, tab, version, id } = open;
  return tab === "trace" ? JSON.stringify([id, tab, whole.trace]) : JSON.stringify([id, tab, version, whole.versions]);
};

const head = (mail) =>
  h(
    "header",
    { class: "letter" },
    h("h2", {}, title(mail)),
    h(
      "dl",
      {},
      mail.is_mail
        ? [h("dt", {}, "from"), h("dd", {}, mail.from || "<> (a bounce)"), h("dt", {}, "to"), h("dd", {}, mail.to.join(", "))]
        : [h("dt", {}, "message"), h("dd", {}, mail.id)],
      h("dt", {}, mail.is_notice ? "written" : "came in"),
      h("dd", {}, time(mail.at), mail.size ? `, ${bytes(mail.size)}` : ""),
    ),
  );

const told = (end) => {
  const word = ended(end);
  const again = end.resends ? `, sent again ${plural(end.resends, "time")}` : "";
  const hints = {
    forwarded: () => `in ${duration(end.ms)}${again}`,
    replied: () => `from ${end.mask}, in ${duration(end.ms)}${again}: the stranger sees the mask and nothing else`,
    notice: () => "relayd tells an owner what they should know, at most once a day",
  };
  const hint = hints[word] ? hints[word]() : `${end.to ? `${end.to}: ` : ""}${end.meaning}`;
  return h("li", {}, badge(word), h("b", {}, hints[word] ? end.mailbox : end.reason || end.state), h("span", { class: "hint" }, hint));
};

const outcomes = (mail) => {
  const items = mail.outcomes.map(told);
  if (mail.dead) items.unshift(h("li", {}, badge("dead"), h("b", {}, mail.dead.reason), h("span", { class: "hint" }, `${mail.dead.meaning} It waits in the dead-letter queue.`)));
  if (!items.length) items.push(h("li", {}, badge("waiting"), h("span", { class: "hint" }, "It waits in the queue, or is being worked on.")));
  const held = mail.outcomes.filter((end) => end.held);
  const gone = mail.outcomes.some((end) => end.state === "discarded" && !end.held && end.reason !== "released");
  return h(
    "div",
    {},
    h("ul", { class: "outcomes" }, ...items),
    gone && h("p", { class: "hint" }, "Discarded is not destroyed: the mail stays in S3, and the ledger says why."),
    held.length > 0 && h("p", { class: "hint" }, "It waits in the quarantine until somebody lets it go:"),
    held.map((end) => h("pre", { class: "command" }, `. ${facts.environment}; relayd quarantine release ${end.held}`)),
  );
};

// Whoever got it can answer, so that a person can play both sides of a conversation.
const answers = (mail) => (mail.answers.length ? h("p", { class: "answers" }, ...mail.answers.map((one) => h("a", { class: "button", href: `#/answer/${mail.id}/${one.version}` }, `Answer as ${one.from}`))) : "");

const deadBody = (mail) => h("div", {}, h("h3", {}, "The message on the queue"), h("pre", { class: "source", tabindex: "0" }, mail.body));

const tabs = (mail) => {
  const choose = (event, index) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const [name] = TABS[(index + step + TABS.length) % TABS.length];
    location.replace(`#/mail/${mail.id}/${name}`);
    requestAnimationFrame(() => $(`tab-${name}`)?.focus());
  };
  const list = h(
    "div",
    { class: "tabs", role: "tablist", "aria-label": "Views of the mail" },
    ...TABS.map(([name, word], index) =>
      h(
        "a",
        {
          id: `tab-${name}`,
          role: "tab",
          href: `#/mail/${mail.id}/${name}`,
          "aria-selected": String(name === open.tab),
          "aria-controls": "panel",
          tabindex: name === open.tab ? "0" : "-1",
          onclick: (event) => {
            event.preventDefault();
            location.replace(`#/mail/${mail.id}/${name}`);
          },
          onkeydown: (event) => choose(event, index),
        },
        word,
      ),
    ),
  );
  return h("div", { class: "views" }, list, open.tab === "trace" ? null : versions(mail));
};

const versions = (mail) => {
  const offered = open.tab === "headers" && mail.versions[0]?.version === "received" ? mail.versions.filter((one) => one.version !== "received") : mail.versions;
  if (offered.length < 2) return null;
  return h(
    "select",
    { "aria-label": "Which copy", id: "version", onchange: (event) => ((open.version = event.target.value), draw(true)) },
    ...offered.map((one) => h("option", { value: one.version, selected: one.version === open.version }, one.label)),
  );
};

const fillPanel = async (panel) => {
  const { id, tab, whole } = open;
  if (tab === "trace" && whole.is_notice) return panel.replaceChildren(h("p", { class: "hint" }, "relayd wrote it by itself: no mail led to it, and so no trace."));
  if (tab === "trace") return panel.replaceChildren(waterfall(whole.trace));
  if (!whole.versions.length) return panel.replaceChildren(h("p", { class: "hint" }, "Its bytes have been let go: only the newest mails keep them."));
  try {
    const view = await { text, html, headers, source }[tab](id, open.version, whole);
    if (open?.id === id && open.tab === tab) panel.replaceChildren(...[view].flat());
  } catch {
    panel.replaceChildren(h("p", { class: "hint" }, "This could not be loaded; the mail may have been let go."));
  }
};

const at = (id, version) => `/api/mails/${encodeURIComponent(id)}/${version}`;

const waterfall = (trace) => {
  if (!trace.rows.length) return h("p", { class: "hint" }, "No spans have arrived yet.");
  const items = trace.rows.map((row) => {
    const bar = h("span", { class: "bar" });
    const whole = Math.max(trace.ms, 0.001);
    bar.style.left = `${Math.min(99.4, (row.from / whole) * 100)}%`;
    bar.style.width = `${Math.max(0.6, Math.min(100, (row.ms / whole) * 100))}%`;
    const name = h("span", { class: "span-name" }, row.linked ? h("span", { class: "link", title: "a trace of its own, linked to the one above" }, "⇢ ") : "", row.name);
    name.style.paddingInlineStart = `${row.depth * 0.9}rem`;
    const details = [[row.service, row.kind].filter(Boolean).join(", "), ...row.details.map(([key, value]) => `${key} = ${value}`)].filter(Boolean);
    return h(
      "li",
      { class: `${row.kind || "internal"}${row.error ? " error" : ""}`, title: details.join("\n") },
      name,
      h("span", { class: "kind" }, row.error ? row.error : row.kind === "internal" ? "" : row.kind),
      h("span", { class: "lane" }, bar),
      h("span", { class: "figure" }, duration(row.ms)),
    );
  });
  return h(
    "div",
    { class: "waterfall" },
    h("p", { class: "hint" }, `${plural(trace.rows.length, "span")} over ${duration(trace.ms)}, from OpenTelemetry. ⇢ begins a trace of its own, linked to the one above.`),
    h("ol", {}, ...items),
  );
};

const others = (letter) =>
  letter.others.length ? h("p", { class: "hint" }, "Also in it: ", letter.others.map((part) => `${part.name || part.kind} (${bytes(part.size)})`).join(", ")) : "";

const text = async (id, version) => {
  const letter = await get(at(id, version));
  return [letter.text ? h("pre", { class: "text" }, letter.text) : h("p", { class: "hint" }, "This mail has no text part."), others(letter)];
};

const html = async (id, version) => {
  const letter = await get(at(id, version));
  if (!letter.html) return h("p", { class: "hint" }, "This mail has no HTML part.");
  const frame = h("iframe", { sandbox: "", referrerpolicy: "no-referrer", title: "The mail’s HTML", src: `${at(id, version)}/html` });
  return [frame, h("p", { class: "hint" }, "In a frame that may run nothing and load nothing.")];
};

const headers = async (id, version, whole) => {
  const came = whole.versions.some((one) => one.version === "received");
  const sent = came && version === "received" ? whole.versions.find((one) => one.version !== "received")?.version : version;
  if (!sent || !came) return [h("p", { class: "hint" }, came ? "Nothing was sent on, so there is only one header:" : "Nothing came in before it, so there is only one header:"), h("pre", { class: "source", tabindex: "0" }, (await get(at(id, version))).source.split(/\r?\n\r?\n/)[0])];
  const { fields } = await get(`${at(id, sent)}/headers`);
  const totals = Object.entries(CHANGES).map(([change, [sign, word]]) => h("li", { class: change }, h("span", { class: "sign" }, `${sign} `), `${count(fields.filter((field) => field.change === change).length)} ${word}`));
  const cell = (value, label) => h("td", { "data-label": label }, value ? h("span", {}, value) : h("span", { class: "none" }, "–"));
  return [
    h("ul", { class: "changes" }, ...totals),
    h(
      "table",
      { class: "fields" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "field"), h("th", { scope: "col" }, "before"), h("th", { scope: "col" }, "after"))),
      h("tbody", {}, ...fields.map((field) => h("tr", { class: field.change }, h("th", { scope: "row" }, field.name, h("span", { class: "change" }, `${CHANGES[field.change][0]} ${CHANGES[field.change][1]}`)), cell(field.before, "before"), cell(field.after, "after")))),
    ),
  ];
};

const source = async (id, version) => {
  const letter = await get(at(id, version));
  return [h("pre", { class: "source", tabindex: "0" }, letter.source), h("p", { class: "hint" }, letter.cut ? "Cut short here. " : "", h("a", { href: `${at(id, version)}/source`, target: "_blank", rel: "noreferrer" }, "The whole of it"))];
};
