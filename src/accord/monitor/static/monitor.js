"use strict";
// Pages work without this: it keeps figures up to date and checks a mended record while it is typed.

const RETRY_FIRST_MS = 2000;
const RETRY_LONGEST_MS = 60000;
const shown = [...document.querySelectorAll("[data-of]")];
let stream = null;
let retryMs = RETRY_FIRST_MS;
let retry;

function show(figures) {
  for (const element of shown) {
    const of = figures[element.dataset.of];
    if (!of) continue;
    if (element.dataset.state) {
      const end = figures[element.dataset.end];
      const state = end && (end.state === "sick" || end.state === "paused") ? end.state : of.state;
      element.setAttribute("class", `${element.dataset.state} ${state}`);
    }
    const figure = element.dataset.figure;
    if (figure && of[figure] !== undefined && element.textContent !== of[figure]) {
      const isLong = element.localName === "text" && of[figure].length > 30;
      element.textContent = isLong ? of[figure].slice(0, 29) + "…" : of[figure];
    }
  }
}

function listen() {
  clearTimeout(retry);
  if (stream || document.hidden || !shown.length) return;
  stream = new EventSource("/monitor/events");
  stream.addEventListener("figures", (event) => { retryMs = RETRY_FIRST_MS; show(JSON.parse(event.data)); });
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return; // it comes back by itself
    stop();
    retry = setTimeout(listen, retryMs * (0.5 + Math.random()));
    retryMs = Math.min(RETRY_LONGEST_MS, retryMs * 2);
  };
}

function stop() {
  if (stream) stream.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
window.addEventListener("pagehide", stop);
window.addEventListener("pageshow", listen);
listen();

const mend = document.querySelector("form.mend");
if (mend) {
  const body = mend.querySelector("textarea");
  const verdict = mend.querySelector(".problems");
  let asked = 0;
  let timer;
  const check = async () => {
    const mine = ++asked;
    const form = new URLSearchParams({ form: mend.elements.form.value, body: body.value });
    const answer = await fetch(mend.dataset.check, { method: "POST", body: form, credentials: "same-origin" });
    if (!answer.ok || mine !== asked) return;
    const { problems } = await answer.json();
    verdict.className = "problems " + (problems.length ? "wrong" : "fine");
    verdict.textContent = problems.length ? problems.join("\n") : "The record satisfies the contract.";
  };
  const later = () => { clearTimeout(timer); timer = setTimeout(() => check().catch(() => {}), 250); };
  body.addEventListener("input", later);
  later();
}
