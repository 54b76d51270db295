// The list of mail, the newest first, and the totals above it.

import { $, WORDS, badge, count, duration, h, say, time } from "./dom.js";

const MOST = 300;
const entries = new Map();
let shown = new Map();
let facts = {};

export const begin = (start) => {
  facts = start.facts;
  const port = facts.smtp_port;
  $("empty").replaceChildren(
    h("p", { class: "lead" }, "Nothing has come in yet."),
    h("p", {}, "Send one with the form, or with any program that speaks SMTP:"),
    h("pre", {}, h("code", {}, `swaks --server 127.0.0.1:${port} \\\n  --to shop@mask.example`)),
    h("p", {}, "Each mail goes the way it would go in production: SES stores it in S3, SNS tells SQS, relayd takes it from there."),
  );
};

const why = (mail) => {
  if (mail.dead) return mail.dead.reason;
  const ends = mail.outcomes.map((end) => {
    if (end.kind === "notice") return h("span", {}, end.reason || "written by relayd itself");
    const by = end.kind === "reply" && end.mask ? `from ${end.mask} ` : "";
    if (end.state === "sent") return h("span", {}, `${by}→ ${end.mailbox} `, h("span", { class: "figure" }, `in ${duration(end.ms)}`));
    return h("span", {}, end.held ? `held back: ${end.reason}` : end.reason);
  });
  return ends.length ? ends : mail.is_mail ? "in the queue, or being worked on" : "";
};

const line = (mail) =>
  h(
    "li",
    {},
    h(
      "a",
      { href: `#/mail/${mail.id}` },
      h(
        "span",
        { class: "row" },
        badge(mail.state),
        h("span", { class: "figure when" }, time(mail.at)),
      ),
      h("span", { class: "subject" }, mail.is_mail ? mail.subject || "(no subject)" : "a message that is no mail"),
      h("span", { class: "route" }, mail.is_mail ? `${mail.from || "<>"} → ${mail.to.join(", ")}` : mail.id),
      h("span", { class: "why" }, why(mail)),
    ),
  );

export const update = (live) => {
  for (const mail of live.mails) entries.set(mail.id, mail);
  if (live.mails.length) render();
  totals(live.totals);
};

const render = () => {
  const newest = [...entries.values()].sort((a, b) => b.number - a.number).slice(0, MOST);
  for (const id of [...entries.keys()]) if (entries.size > 2 * MOST) entries.delete(id); else break;
  const next = new Map();
  for (const mail of newest) {
    const known = shown.get(mail.id);
    next.set(mail.id, known && known.mail === mail ? known : { mail, element: line(mail) });
  }
  shown = next;
  const focused = document.activeElement?.getAttribute("href");
  $("mails").replaceChildren(...[...next.values()].map(({ element }) => element));
  if (focused?.startsWith("#/mail/")) $("mails").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  mark();
};

export const mark = () => {
  for (const link of $("mails").querySelectorAll("a")) {
    const current = location.hash.startsWith(link.getAttribute("href"));
    if (current) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
};

const totals = (found) => {
  const notices = found.notice;
  const all = Object.keys(WORDS).reduce((sum, state) => sum + found[state], -notices);
  $("empty").hidden = all + notices > 0;
  $("more").hidden = all + notices <= MOST;
  say($("more"), `The newest ${MOST} of ${count(all + notices)}.`);
  const parts = [["in", all], ...Object.entries(WORDS).map(([state, [, word]]) => [word, found[state], state])];
  const kept = parts.filter(([, value, state]) => value > 0 || !["replied", "held", "failed", "notice"].includes(state));
  if ([...$("totals").children].map((item) => item.className).join() !== kept.map(([, , state]) => state ?? "in").join()) {
    $("totals").replaceChildren(...kept.map(([word, , state]) => h("li", { class: state ?? "in" }, h("b", {}), ` ${word}`)));
  }
  kept.forEach(([, value], index) => say($("totals").children[index].firstChild, count(value)));
};

export const title = (mail) => (mail.is_mail ? mail.subject || "(no subject)" : "A message that is no mail");
