// The page's heart: it asks once a second what has changed, and shows what the address says.

import { $, get } from "./dom.js";
import * as gauges from "./gauges.js";
import * as list from "./list.js";
import * as mail from "./mail.js";
import * as write from "./write.js";

const EVERY = 1000;
let revision = 0;
let wide = matchMedia("(min-width: 60rem)");

const route = () => {
  const [, view, id, tab] = location.hash.split("/");
  document.body.dataset.view = view || "home";
  list.mark();
  if (view === "mail" && id) {
    if (!wide.matches && document.activeElement?.closest("#mails")) scrollTo(0, 0);
    return mail.show(decodeURIComponent(id), tab);
  }
  mail.close();
  if (!wide.matches && view) scrollTo(0, 0);
  if (view === "answer" && id) return write.answer(decodeURIComponent(id), tab);
  return write.show();
};

const look = async () => {
  try {
    const live = await get(`/api/live?since=${revision}&point=${gauges.last()}`);
    if (live.revision < revision) return location.reload();
    revision = live.revision;
    $("banner").hidden = true;
    gauges.update(live);
    list.update(live);
    await mail.refresh();
  } catch (error) {
    console.debug("the sandbox does not answer", error);
    $("banner").textContent = "The sandbox does not answer: it has ended, or this page is from an earlier one. This page goes on by itself when it is back.";
    $("banner").hidden = false;
  }
  setTimeout(look, document.hidden ? 5 * EVERY : EVERY);
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && /^#\/(mail|answer)/.test(location.hash)) location.hash = "#/";
});

const begin = async () => {
  const start = await get("/api/start");
  $("status").href = start.facts.status_url;
  write.begin(start);
  list.begin(start);
  mail.begin(start);
  gauges.begin(write.burst);
  addEventListener("hashchange", route);
  route();
  look();
};

begin();
