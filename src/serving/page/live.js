// The live panel: asks the server for its state, more often while it works, never while nobody looks.

import { get, Told } from "./api.js";
import { isRunning } from "./chat.js";
import { $, bytes, duration, make, number, percent, setText, whole } from "./dom.js";
import { domainShares, drawHeat, startHeat } from "./heat.js";
import { drawPower, startPower } from "./power.js";
import { fit } from "./settings.js";
import { offerLayers } from "./tokens.js";

const BUSY_MS = 400;
const IDLE_MS = 1500;
let fitted = "";
let timer = 0;

function setState(state, text) {
  $("state").dataset.state = state;
  setText("state", text);
}

function drawStatus(status) {
  const { model, requests, tokens, drafts, cache } = status;
  const name = JSON.stringify(model);
  if (fitted !== name) {
    fitted = name;
    setText("model", model.name);
    document.title = `${model.name} · Darkhorse Genesis`;
    fit(model);
  }
  setText("about", `context ${whole(model.context)} · ${status.backend}`);
  const busy = requests.running + requests.waiting > 0;
  setState(busy ? "busy" : "ready", busy ? "working" : "ready");
  setText("tile-rate", number(tokens.per_second));
  setText("tile-running", whole(requests.running));
  setText("tile-waiting", whole(requests.waiting));
  setText("tile-accepted", drafts.acceptance === null ? "-" : percent(drafts.acceptance));
  const limit = cache.limit_bytes === null ? "" : ` of ${bytes(cache.limit_bytes)}`;
  setText("tile-cache", bytes(cache.bytes));
  $("tile-cache").title = `${bytes(cache.bytes)}${limit}`;
  setText("tile-uptime", duration(status.uptime_s));
  const places = drafts.by_place.filter(([drafted]) => drafted > 0);
  $("acceptance-places").hidden = places.length === 0;
  setText("acceptance-places", `Accepted by place: ${places.map(([drafted, accepted], i) => `${i + 1}: ${percent(accepted / drafted)}`).join(", ")}`);
  return busy;
}

function drawDomains(routing) {
  const shares = domainShares(routing);
  const place = $("domains");
  if (!shares) {
    const why = routing.layers.length ? "This model's experts belong to no domains" : "This model has no experts";
    place.replaceChildren(make("p", { class: "muted small", text: why }));
    return;
  }
  if (!shares.all) {
    place.replaceChildren(make("p", { class: "muted small", text: "No tokens in this time" }));
    return;
  }
  place.replaceChildren(...[...shares.sums].map(([domain, count]) => {
    const share = count / shares.all;
    return make("div", { class: "lane" }, make("span", { text: domain }),
      make("meter", { min: 0, max: 1, value: share, "aria-label": domain }), make("span", { text: percent(share) }));
  }));
}

async function poll() {
  clearTimeout(timer);
  let wait = IDLE_MS;
  if (!document.hidden) {
    try {
      const seconds = $("window").value;
      const status = await get("/api/status");
      const [energy, routing] = await Promise.all([get("/api/energy"),
        get(`/api/routing${seconds ? `?seconds=${seconds}` : ""}`)]);
      if (drawStatus(status) || isRunning()) wait = BUSY_MS;
      drawPower(energy);
      drawHeat(routing);
      drawDomains(routing);
      offerLayers(routing.layers.map((layer) => layer.layer));
    } catch (error) {
      setState("lost", error instanceof Told ? error.message : `the page failed: ${error.message}`);
    }
  }
  clearTimeout(timer);
  timer = setTimeout(poll, wait);
}

export function startLive() {
  startHeat();
  startPower();
  $("window").addEventListener("change", poll);
  document.addEventListener("busy", poll);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  poll();
}
