// Renews the page when the journal of its run, or of one of its runs, has grown.
"use strict";

const PAUSE_MS = 2000;
const number = /^\/runs\/(\d+)$/.exec(location.pathname);

/** The runs of this page. */
function own(runs) {
  return number ? [runs[Number(number[1])]] : runs;
}

/** Shows a text beside the state; nothing if all is well. */
function say(text) {
  document.getElementById("link").textContent = text;
}

/** Takes over the page's content as the server renders it now; what was opened stays open. */
async function renew() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) throw new Error(await answer.text());
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const open = [...document.querySelectorAll("details")].map((it) => it.open);
  const main = page.querySelector("main");
  main.querySelectorAll("details").forEach((it, at) => { it.open = open[at] ?? it.open; });
  document.querySelector("main").replaceWith(main);
  document.title = page.title;
}

async function look() {
  try {
    const answer = await fetch("/api/runs", { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    const runs = own(await answer.json());
    const version = runs.reduce((sum, run) => sum + run.version, 0);
    const state = document.getElementById("state");
    const told = runs.length === 1 ? runs[0].state : runs.map((run) => `${run.name}: ${run.state}`).join(" · ");
    if (String(version) !== state.dataset.version) {
      await renew();
    } else if (state.textContent !== told) {
      state.textContent = told;
    }
    say("");
  } catch (error) {
    const what = error instanceof TypeError ? "the dashboard does not answer" : error.message;
    say(`not live: ${what}`);
  }
  setTimeout(look, PAUSE_MS);
}

setTimeout(look, PAUSE_MS);
