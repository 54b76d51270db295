// The form: a mail that goes through the real SMTP door.

import { $, h, plural, post } from "./dom.js";

const BURST = 25;
let start = { masks: [], verdicts: {}, facts: {} };
let kept = null;

export const begin = (found) => {
  start = found;
};

export const burst = () => post("/api/send", { from: "shop@example.net", to: "shop@mask.example", subject: "Your parcel", text: "It is on its way.\n", count: BURST });

export const show = () => {
  kept ??= form();
  $("detail").replaceChildren(h("a", { class: "back", href: "#/" }, "← All mail"), kept);
};

const field = (label, control, hint) => {
  const id = `write-${control.name}`;
  control.id = id;
  return h("div", { class: "field" }, h("label", { for: id }, label), control, hint ? h("p", { class: "hint" }, hint) : null);
};

const form = () => {
  const masks = start.masks.map((mask) => h("option", { value: mask.address, selected: mask.address.startsWith("shop@") }, mask.note ? `${mask.address}  (${mask.note})` : mask.address));
  const told = h("p", { class: "told", role: "status" });
  return h(
    "form",
    { class: "write", onsubmit: (event) => submit(event, told), novalidate: true },
    h("h2", {}, "Write a mail"),
    h("p", { class: "hint" }, "It goes through the SMTP door into S3, over SNS into SQS, and relayd takes it from there. Nothing leaves this machine."),
    h(
      "div",
      { class: "pair" },
      field("From", h("input", { name: "from", type: "email", autocomplete: "off", value: "you@example.net", required: true })),
      field("To a mask", h("select", { name: "to" }, ...masks)),
    ),
    field("Subject", h("input", { name: "subject", autocomplete: "off", value: "Hello from the other side" })),
    field("Text", h("textarea", { name: "text", rows: "5" }, "Hi,\n\nthis came in for a mask, and went on to its owner.\n")),
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
