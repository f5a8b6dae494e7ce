// Begins: the parts draw what the store knows, the link feeds it.

import * as fleet from "./fleet.js";
import { forms, mayAct } from "./forms.js";
import { follow, perform } from "./link.js";
import * as lists from "./lists.js";
import * as panel from "./panel.js";
import * as queues from "./queues.js";
import * as runs from "./runs.js";
import { store } from "./store.js";
import { day, element, foreign, set } from "./text.js";

const STATES = { live: "live", lost: "connection lost, trying again", connecting: "connecting …" };
const live = document.querySelector("#live");
const clock = document.querySelector("#clock");
const worker = document.querySelector("#worker");
const clearAll = document.querySelector("#clear-all");
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });

function tick() {
  const now = store.now();
  set(clock, `${day(now)} ${TIME.format(now)}`);
  runs.tick();
  queues.tick();
}

function drawFaults() {
  const root = document.querySelector("#faults");
  root.hidden = !store.faults.size;
  clearAll.hidden = store.faults.size < 2;
  root.querySelector("ul").replaceChildren(
    ...[...store.faults].map(([key, fault]) =>
      element(
        "li",
        { "data-fault": key },
        foreign(fault.hits ? `${fault.text} (struck ${fault.hits})` : fault.text),
        element("button", { type: "button", "aria-label": `Clear: ${fault.text}`, disabled: !mayAct(), onclick: () => perform({ do: "clear", fault: key }).then((done) => panel.say(done), panel.problem) }, "✕"),
      ),
    ),
  );
}

function drawAbout() {
  document.querySelector("[data-open=alert]").hidden = !store.about.get("canAlert");
  document.querySelector("[data-open=clock]").hidden = !store.about.get("canMoveClock");
  const state = store.about.get("worker");
  worker.hidden = !state;
  set(worker, state === "ended" ? "Start the worker" : "Kill the worker");
}

for (const part of [panel, fleet, runs, queues, lists]) part.begin();
store.view(["faults"], drawFaults);
store.view(["about"], drawAbout);
store.view(["clock"], tick);
for (const button of document.querySelectorAll("[data-open]")) {
  button.addEventListener("click", () => Promise.resolve(forms[button.dataset.open]()).catch(panel.problem));
}
// The address holds the token where a link would put its section.
for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector(link.hash).scrollIntoView();
  });
}
worker.addEventListener("click", () => {
  const command = store.about.get("worker") === "ended" ? "start-worker" : "kill-worker";
  perform({ do: command }).then((done) => panel.say(done), panel.problem);
});
clearAll.addEventListener("click", () => perform({ do: "clear-all" }).then((done) => panel.say(done), panel.problem));
function onlyLook(why) {
  for (const button of document.querySelectorAll("#actions button, #clear-all")) button.disabled = true;
  panel.say(why, false, true);
}
if (!mayAct()) onlyLook("You can look. To change anything, open the address that the sandbox printed: it holds a token.");
follow((state) => {
  live.dataset.state = state;
  set(live, STATES[state]);
}, () => onlyLook("The sandbox was started anew, and this window can only look. Open the new address that it printed: it holds a new token."));
setInterval(tick, 1000);
