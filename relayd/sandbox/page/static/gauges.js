// The switch and the live figures: what S3 and SES are made to do, and what relayd makes of it.

import { $, count, duration, h, plural, post, s, say } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 64;
const KEPT = 240;
const MODES = [
  ["normal", "normal"],
  ["slow-5", "slow 5 s"],
  ["slow-20", "slow 20 s"],
  ["hang", "hang"],
  ["fail", "fail 503"],
];
const NAMES = { s3: "S3", ses: "SES" };

let points = [];
let parts = {};
let modes = { s3: "normal", ses: "normal" };
let lives = { asked: 0, ok: 0, slowest_ms: 0 };
let given_up = 0;
let since = null;
let burst = async () => {};

export const last = () => points.at(-1)?.number ?? 0;

export const begin = (send) => {
  burst = send;
  parts = {
    queue: gauge("Queue", "queue", [["working", "in work"], ["resting", "resting until a retry"], ["waiting", "waiting"]]),
    mail: gauge("Mail latency", "mail", []),
    livez: gauge("/livez", "livez", []),
  };
  $("gauges").replaceChildren(...Object.values(parts).map((part) => part.figure));
  $("switches").replaceChildren(
    chooser("s3"),
    chooser("ses"),
    h("button", { type: "button", id: "burst", onclick: sendBurst }, "Send 25 mails"),
    h("p", { id: "locked", class: "hint", hidden: true }),
  );
};

const gauge = (name, kind, legend) => {
  const value = h("b", { class: "value" }, "–");
  const note = h("span", { class: "note" });
  const chart = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const top = h("span", { class: "scale" });
  const keys = legend.map(([key, word]) => {
    const figure = h("b", {}, "0");
    return [key, figure, h("li", { class: key }, figure, ` ${word}`)];
  });
  const figure = h(
    "figure",
    { class: `gauge ${kind}` },
    h("figcaption", {}, h("span", { class: "name" }, name), value, note),
    h("div", { class: "chart" }, chart, top),
    keys.length ? h("ul", { class: "legend" }, ...keys.map(([, , item]) => item)) : null,
  );
  return { figure, value, note, chart, top, keys: Object.fromEntries(keys.map(([key, found]) => [key, found])) };
};

const chooser = (service) =>
  h(
    "fieldset",
    { id: `switch-${service}` },
    h("legend", {}, `Make ${NAMES[service]}`),
    h(
      "div",
      { class: "segments" },
      ...MODES.map(([mode, word]) =>
        h(
          "label",
          {},
          h("input", { type: "radio", name: `mode-${service}`, value: mode, checked: mode === "normal", onchange: () => move(service, mode) }),
          h("span", {}, word),
        ),
      ),
    ),
  );

const move = async (service, mode) => {
  try {
    const position = await post("/api/switch", { service, mode });
    // Counted from the first thing that went wrong until the next one does.
    if (!Object.values(modes).some((one) => one !== "normal")) since = { ...lives, given_up };
    turn(position);
  } catch (error) {
    say($("narration"), `The switch did not move: ${error.message}`);
  }
};

const sendBurst = async (event) => {
  event.target.disabled = true;
  try {
    await burst();
  } finally {
    event.target.disabled = false;
  }
};

const turn = (position) => {
  modes = position.modes;
  for (const [service, mode] of Object.entries(modes)) {
    const set = $(`switch-${service}`);
    set.disabled = position.locked !== "";
    set.classList.toggle("bad", mode !== "normal");
    const chosen = set.querySelector(`input[value="${mode}"]`);
    if (!chosen.checked) chosen.checked = true;
  }
  $("locked").hidden = position.locked === "";
  say($("locked"), position.locked);
};

export const update = (live) => {
  points = [...points, ...live.points].slice(-KEPT);
  lives = live.lives;
  given_up = live.totals.failed + live.totals.dead;
  turn(live.switch);
  const now = points.at(-1);
  if (!now) return;
  queue(now);
  mail(live.latency);
  livez(now);
  narrate(now, live);
};

const shares = (point) => {
  const working = Math.min(point.in_hand ?? 0, point.in_flight ?? 0);
  return { working, resting: Math.max(0, (point.in_flight ?? 0) - working), waiting: point.visible ?? 0 };
};

const queue = (now) => {
  const { value, note, chart, top, keys } = parts.queue;
  const found = shares(now);
  const all = found.working + found.resting + found.waiting;
  say(value, now.visible === null ? "?" : count(all));
  say(note, all === 1 ? "message" : "messages");
  for (const [key, element] of Object.entries(keys)) say(element, count(found[key]));
  const stacked = points.map((point) => {
    const { working, resting, waiting } = shares(point);
    return [working, working + resting, working + resting + waiting];
  });
  const most = Math.max(10, ...stacked.map((one) => one[2]));
  say(top, count(most));
  const x = (index) => WIDTH - (points.length - 1 - index) * (WIDTH / (KEPT - 1));
  const y = (amount) => HEIGHT - (amount / most) * (HEIGHT - 4);
  const area = (low, high, kind) => {
    const over = stacked.map((one, index) => `${x(index).toFixed(1)},${y(one[high]).toFixed(1)}`);
    const under = stacked.map((one, index) => `${x(index).toFixed(1)},${low < 0 ? HEIGHT : y(one[low]).toFixed(1)}`).reverse();
    return s("polygon", { class: kind, points: [...over, ...under].join(" ") });
  };
  chart.replaceChildren(area(1, 2, "waiting"), area(0, 1, "resting"), area(-1, 0, "working"));
  chart.setAttribute("aria-label", `${count(all)} now, at most ${count(Math.max(...stacked.map((one) => one[2])))} in two minutes`);
};

const curve = (part, values, least, unit) => {
  const known = values.filter((value) => value !== null);
  const most = Math.max(least, ...known);
  say(part.top, unit(most));
  const x = (index) => WIDTH - (values.length - 1 - index) * (WIDTH / (KEPT - 1));
  const y = (value) => HEIGHT - 2 - (value / most) * (HEIGHT - 6);
  let path = "";
  values.forEach((value, index) => {
    if (value === null) return;
    path += `${path && values[index - 1] !== null ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  part.chart.replaceChildren(s("path", { class: "curve", d: path || "M0 0" }));
  return { x, y };
};

const mail = (latency) => {
  say(parts.mail.value, duration(latency.last));
  say(parts.mail.note, latency.count ? `the last one; p50 of ${count(latency.count)}: ${duration(latency.p50)}` : "nothing forwarded yet");
  curve(parts.mail, points.map((point) => point.latency_ms), 100, duration);
  parts.mail.chart.setAttribute("aria-label", `the last mail took ${duration(latency.last)}`);
};

const livez = (now) => {
  const part = parts.livez;
  say(part.value, now.ok ? "ok" : "no answer");
  part.figure.classList.toggle("bad", !now.ok);
  say(part.note, `${now.ok ? "" : `${now.state}; `}in ${duration(now.livez_ms)}; ${count(lives.ok)} of ${count(lives.asked)} ok, slowest ${duration(lives.slowest_ms)}`);
  const { x } = curve(part, points.map((point) => (point.ok ? point.livez_ms : null)), 10, duration);
  points.forEach((point, index) => {
    if (!point.ok) part.chart.append(s("rect", { class: "missed", x: x(index) - 1, y: 0, width: 2, height: HEIGHT }));
  });
  part.chart.setAttribute("aria-label", `${count(lives.ok)} of ${count(lives.asked)} answers were ok`);
};

const STORIES = {
  "slow-5": (name) => `${name} takes 5 s for each call.`,
  "slow-20": (name) => `${name} takes 20 s for each call.`,
  hang: (name) =>
    name === "SES"
      ? "SES takes the call and says nothing. After 30 s nobody can know whether it has the mail: relayd calls it in doubt, waits until the claim has lapsed, and sends once more."
      : `${name} takes the call and says nothing; each try gives up after 30 s, and the mail goes back to the queue.`,
  fail: (name) => `${name} answers 503; each mail goes back to the queue, and is tried again after some seconds, then more, for up to 24 hours.`,
};

const narrate = (now, live) => {
  if (live.switch.locked) {
    return say($("narration"), "How deep the queue is, how long mail takes, and whether relayd says that it lives: looked at twice a second.");
  }
  const bad = Object.entries(modes).filter(([, mode]) => mode !== "normal");
  const { working, resting, waiting } = shares(now);
  const all = working + resting + waiting;
  const asked = since ? lives.asked - since.asked : 0;
  const calm = since && lives.ok - since.ok === asked ? " No restart would help, and none is asked for." : "";
  const well = since ? `/livez has answered ${count(lives.ok - since.ok)} of ${count(asked)} times since the switch.` : "";
  if (!bad.length) {
    const dead = since ? given_up - since.given_up : 0;
    const end = dead ? `${plural(dead, "message")} went to the dead-letter queue.` : "Nothing was restarted, nothing was lost.";
    if (since && all) return say($("narration"), `Well again: ${plural(all, "mail")} to catch up with. ${well} ${end}`);
    if (since) return say($("narration"), `Well again, and everything has been caught up with. ${well} ${end}`);
    return say($("narration"), "S3 got slow once, and a health check that shared its connections had pod after pod killed. Make S3 slow, send 25 mails, and watch it not happen.");
  }
  const told = bad.map(([service, mode]) => STORIES[mode](NAMES[service]));
  if (!all) return say($("narration"), `${told.join(" ")} Now send 25 mails. ${asked ? well : ""}`);
  const slots = now.slots ? `${working} of ${now.slots} slots are busy` : `${working} are being worked on`;
  const rest = [waiting ? `${plural(waiting, "mail")} ${waiting === 1 ? "waits" : "wait"} in SQS` : "", resting ? `${count(resting)} ${resting === 1 ? "rests" : "rest"} until the next try` : ""];
  const held = now.held ? ` Receiving pauses: ${now.held}.` : "";
  say($("narration"), `${told.join(" ")} ${[slots, ...rest].filter(Boolean).join(", ")}.${held} ${asked ? well : ""}${calm}`);
};
