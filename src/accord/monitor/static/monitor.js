"use strict";
// Pages work without this: it keeps the map up to date and checks a mended record while it is typed.

const live = document.querySelector("main[data-live]");

async function refresh() {
  if (document.hidden || live.contains(document.activeElement)) return;
  const answer = await fetch(location.pathname + location.search, { credentials: "same-origin" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  const scrolled = [...live.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  live.replaceChildren(...fresh.childNodes);
  live.querySelectorAll(".scroll").forEach((box, at) => { box.scrollLeft = scrolled[at] || 0; });
}

if (live) {
  setInterval(() => refresh().catch(() => {}), Number(live.dataset.live));
}

const mend = document.querySelector("form.mend");
if (mend) {
  const body = mend.querySelector("textarea");
  const shown = mend.querySelector(".problems");
  let asked = 0;
  let timer;
  const check = async () => {
    const mine = ++asked;
    const form = new URLSearchParams({ form: mend.elements.form.value, body: body.value });
    const answer = await fetch(mend.dataset.check, { method: "POST", body: form, credentials: "same-origin" });
    if (!answer.ok || mine !== asked) return;
    const { problems } = await answer.json();
    shown.className = "problems " + (problems.length ? "wrong" : "fine");
    shown.textContent = problems.length ? problems.join("\n") : "The record satisfies the contract.";
  };
  const later = () => { clearTimeout(timer); timer = setTimeout(() => check().catch(() => {}), 250); };
  body.addEventListener("input", later);
  later();
}
