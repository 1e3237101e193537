"use strict";

// Shows the changes that the gateway sends, and counts times up and down in between.
// What is inserted was escaped by the gateway; the page's policy runs no script in it in any case.

const told = document.getElementById("status");
const said = document.getElementById("said");
const known = new Set(); // the actions of whose end the page has told
let isLive = false;
let source = null;
let ahead = Date.now() / 1000 - Number(document.body.dataset.now); // this clock to the gateway's

function say(text, state) {
  if (told.textContent !== text) told.textContent = text;
  document.body.dataset.state = state;
}

function lasting(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  if (hours >= 48) return `${Math.floor(hours / 24)} days`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

function tick() {
  const now = Date.now() / 1000 - ahead;
  for (const time of document.querySelectorAll("time[data-until]")) {
    const left = Number(time.dataset.until) - now;
    time.textContent = left > 0 ? `unloaded in ${lasting(left)}` : "about to be unloaded";
  }
  for (const time of document.querySelectorAll("time[data-since]")) {
    time.textContent = lasting(now - Number(time.dataset.since));
  }
}

function filter(input) {
  const wanted = input.value.trim().toLowerCase();
  for (const row of document.querySelectorAll(`#${input.dataset.filters} tbody tr`)) {
    row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
  }
}

function show(event) {
  const { now, sections } = JSON.parse(event.data);
  ahead = Date.now() / 1000 - now;
  for (const [name, html] of Object.entries(sections)) {
    const section = document.getElementById(name);
    const held = section.contains(document.activeElement) && document.activeElement.dataset.id;
    section.innerHTML = html;
    // Whoever uses the keyboard goes on where they were.
    if (held) (section.querySelector(`[data-id="${CSS.escape(held)}"]`) ?? section).focus();
    const input = document.querySelector(`input[data-filters="${name}"]`);
    if (input) filter(input);
  }
  tick();
  tellOfActions();
}

// Says what has become of actions, once each; those of before this page are old news.
function tellOfActions() {
  for (const ended of document.querySelectorAll("[data-said]")) {
    if (known.has(ended.dataset.said)) continue;
    known.add(ended.dataset.said);
    if (isLive) tell(ended.textContent, !ended.classList.contains("reason"));
  }
  isLive = true;
}

function tell(text, isWell) {
  said.textContent = text;
  said.classList.toggle("failed", !isWell);
}

async function act(event) {
  event.preventDefault();
  const form = event.target;
  const body = new URLSearchParams(new FormData(form, event.submitter));
  try {
    const answer = await fetch(form.getAttribute("action"), {
      method: "POST",
      headers: { accept: "application/json" },
      body,
    });
    tell((await answer.json()).said, answer.ok);
    if (answer.ok) form.reset();
  } catch {
    tell("The gateway does not answer. Nothing was begun.", false);
  }
}

// A browser connects anew by itself while nobody answers, but not after a refusal.
async function look() {
  let answer = null;
  try {
    answer = await fetch("events", { headers: { accept: "text/event-stream" } });
    answer.body?.cancel();
  } catch {
    // Nobody answers.
  }
  if (answer?.ok) {
    connect();
  } else if (answer?.status === 401 || answer?.status === 403) {
    location.reload();
  } else {
    if (answer?.status === 503) say("Too many pages are open, or the gateway is ending", "away");
    setTimeout(look, 3000);
  }
}

function connect() {
  source = new EventSource("events");
  source.onopen = () => say("Live", "live");
  source.onmessage = show;
  source.onerror = () => {
    say("The gateway does not answer. Trying again.", "away");
    if (source.readyState === EventSource.CLOSED) setTimeout(look, 3000);
  };
}

for (const input of document.querySelectorAll("input[data-filters]")) {
  input.closest(".filter").hidden = false;
  input.addEventListener("input", () => filter(input));
}
for (const form of document.querySelectorAll("form.acts")) form.addEventListener("submit", act);
setInterval(tick, 1000);
tick();
connect();
