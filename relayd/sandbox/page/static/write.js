// The form: a mail that goes through the real SMTP door.

import { $, get, h, plural, post } from "./dom.js";

const BURST = 25;
let start = { masks: [], verdicts: {}, facts: {} };
let kept = null;

export const begin = (found) => {
  start = found;
};

export const burst = () => post("/api/send", { from: "shop@example.net", to: "shop@mask.example", subject: "Your parcel", text: "It is on its way.\n", count: BURST });

const back = () => h("a", { class: "back", href: "#/" }, "← All mail");

export const show = () => {
  kept ??= form({
    title: "Write a mail",
    from: "you@example.net",
    to: "shop@mask.example",
    subject: "Hello from the other side",
    text: "Hi,\n\nthis came in for a mask, and went on to its owner.\n",
  });
  $("detail").replaceChildren(back(), kept);
};

// An answer to what SES was given, by whoever got it. Mail programs quote all of it, and sign with the address.
export const answer = async (id, version) => {
  const here = location.hash;
  const path = `/api/mails/${encodeURIComponent(id)}`;
  try {
    const mail = await get(path);
    const one = mail.answers.find((found) => found.version === version);
    const { text } = await get(`${path}/${version}`);
    if (location.hash !== here) return;
    const quote = text.trimEnd().split(/\r?\n/).map((line) => `> ${line}`).join("\n");
    const filled = form({
      title: `Answer as ${one.from}`,
      from: one.from,
      to: one.to,
      note: one.hint,
      subject: /^re:/i.test(mail.subject) ? mail.subject : `Re: ${mail.subject}`,
      text: `Thank you!\n\n-- \n${one.from}\n\n${one.to} wrote:\n${quote}\n`,
      in_reply_to: one.in_reply_to,
    });
    $("detail").replaceChildren(back(), filled);
  } catch {
    if (location.hash === here) $("detail").replaceChildren(back(), h("p", { class: "hint" }, "This mail can no longer be answered here: it has been let go."));
  }
};

const field = (label, control, hint) => {
  const id = `write-${control.name}`;
  control.id = id;
  return h("div", { class: "field" }, h("label", { for: id }, label), control, hint ? h("p", { class: "hint" }, hint) : null);
};

const ABOUT = "It goes through the SMTP door into S3, over SNS into SQS, and relayd takes it from there. Nothing leaves this machine.";
const ABOUT_ANSWERS = "The address in From stands in the text as well, as it does in real mail: look what the other side gets to see of it.";

const form = (given) => {
  const known = start.masks.some((mask) => mask.address === given.to) ? [] : [{ address: given.to, note: given.note }];
  const masks = [...known, ...start.masks].map((mask) => h("option", { value: mask.address, selected: mask.address === given.to }, mask.note ? `${mask.address}  (${mask.note})` : mask.address));
  const told = h("p", { class: "told", role: "status" });
  return h(
    "form",
    { class: "write", onsubmit: (event) => submit(event, told), novalidate: true },
    h("h2", {}, given.title),
    h("p", { class: "hint" }, given.in_reply_to ? ABOUT_ANSWERS : ABOUT),
    h("input", { name: "in_reply_to", type: "hidden", value: given.in_reply_to ?? "" }),
    h(
      "div",
      { class: "pair" },
      field("From", h("input", { name: "from", type: "email", autocomplete: "off", value: given.from, required: true })),
      field("To", h("select", { name: "to" }, ...masks)),
    ),
    field("Subject", h("input", { name: "subject", autocomplete: "off", value: given.subject })),
    field("Text", h("textarea", { name: "text", rows: given.in_reply_to ? "10" : "5" }, given.text)),
    h("details", {}, h("summary", {}, "With an HTML part"), field("HTML", h("textarea", { name: "html", rows: "5", spellcheck: "false", placeholder: "<p>It may hold anything: nothing of it runs here.</p>" }))),
    h(
      "div",
      { class: "pair" },
      field("What SES finds", h("select", { name: "verdict" }, ...Object.entries(start.verdicts).map(([value, word]) => h("option", { value }, word)))),
      field("How many", h("input", { name: "count", type: "number", min: "1", max: "100", value: "1", inputmode: "numeric" })),
    ),
    h("div", { class: "bar" }, h("button", { type: "submit", class: "primary" }, "Send"), told),
  );
};

const submit = async (event, told) => {
  event.preventDefault();
  const element = event.target;
  const button = element.querySelector("button[type=submit]");
  for (const control of element.elements) control.removeAttribute("aria-invalid");
  const value = Object.fromEntries(new FormData(element));
  value.count = Number(value.count);
  button.disabled = true;
  told.replaceChildren("sending …");
  told.classList.remove("bad");
  try {
    const { sent } = await post("/api/send", value);
    told.replaceChildren(sent.length === 1 ? "Sent. " : `${plural(sent.length, "mail")} sent. `, h("a", { href: `#/mail/${sent.at(-1)}` }, sent.length === 1 ? "Follow it" : "Follow the last one"));
  } catch (error) {
    told.classList.add("bad");
    told.replaceChildren(error.message);
    const wrong = error.field && element.elements[error.field];
    if (wrong) {
      wrong.setAttribute("aria-invalid", "true");
      wrong.focus();
    }
  } finally {
    button.disabled = false;
  }
};
