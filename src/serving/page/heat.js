// The heat map: layers down, experts across, brightness by the share of a layer's choices.

import { $, canvas, colour, percent, setText, show, whole } from "./dom.js";

// Viridis: its brightness rises evenly for every kind of colour vision.
const STOPS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
  [170, 220, 50], [253, 231, 37]];

let data = null;
let cell = null;
// Slots of the chosen token, by layer.
let chosen = new Map();

function stop(value) {
  const at = Math.max(0, Math.min(1, value)) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(at));
  const mix = STOPS[low].map((from, i) => Math.round(from + (STOPS[low + 1][i] - from) * (at - low)));
  return `rgb(${mix.join(" ")})`;
}

// Shares of each layer's choices; null experts make them less than 1 together.
function shares(routing) {
  return routing.layers.map((layer) => {
    const all = [...(layer.counts ?? []), ...(layer.null_counts ?? [])].reduce((a, b) => a + b, 0);
    return { ...layer, all, shares: (layer.counts ?? []).map((count) => (all ? count / all : 0)) };
  });
}

function geometry(width) {
  const columns = Math.max(...data.layers.map((layer) => layer.shares.length));
  const height = Math.max(7, Math.min(18, 300 / data.layers.length));
  const left = 26;
  return { columns, height, left, width: (width - left) / columns };
}

function draw() {
  const element = $("heat");
  if (!data || element.clientWidth < 60) return;
  const rows = data.layers.length;
  const size = geometry(element.clientWidth);
  const bottom = rows * size.height;
  const { context } = canvas(element, Math.ceil(bottom) + 15);
  const gap = size.width > 5 && size.height > 5 ? 1 : 0;
  context.font = "10px system-ui, sans-serif";
  context.textBaseline = "middle";
  const every = Math.ceil(11 / size.height);
  data.layers.forEach((layer, row) => {
    if (row % every === 0) {
      context.fillStyle = colour("--muted");
      context.fillText(layer.layer, 2, (row + 0.5) * size.height);
    }
    layer.shares.forEach((share, expert) => {
      context.fillStyle = layer.all ? stop(share / data.most) : colour("--raised");
      context.fillRect(size.left + expert * size.width, row * size.height, Math.max(1, size.width - gap), size.height - gap);
    });
  });
  data.layers.forEach((layer, row) => {
    for (const slot of chosen.get(layer.layer) ?? []) {
      if (slot >= layer.shares.length) continue;
      context.beginPath();
      const radius = Math.max(1, Math.min(3.2, size.height / 3, size.width / 3));
      context.arc(size.left + (slot + 0.5) * size.width - gap / 2, (row + 0.5) * size.height - gap / 2, radius, 0, 7);
      context.fillStyle = "#fff";
      context.fill();
      context.lineWidth = 1;
      context.strokeStyle = "#000";
      context.stroke();
    }
  });
  context.fillStyle = colour("--muted");
  context.textAlign = "center";
  const step = Math.ceil(24 / size.width);
  for (let expert = 0; expert < size.columns; expert += step)
    context.fillText(`E${expert}`, size.left + (expert + 0.5) * size.width, bottom + 9);
  context.textAlign = "left";
  if (cell) {
    context.strokeStyle = colour("--text");
    context.lineWidth = 2;
    context.strokeRect(size.left + cell.expert * size.width, cell.row * size.height, size.width - gap, size.height - gap);
  }
  const scale = canvas($("heat-scale"));
  const steps = 64;
  for (let i = 0; i < steps; i += 1) {
    scale.context.fillStyle = stop(i / (steps - 1));
    scale.context.fillRect((i * scale.width) / steps, 0, scale.width / steps + 1, scale.height);
  }
}

function tell() {
  const layer = cell && data.layers[cell.row];
  if (!layer) {
    const over = data.seconds ? `in the newest ${data.seconds} s` : "since the model was loaded";
    setText("heat-cell", `${whole(data.tokens)} tokens ${over}. Point at an expert for its share.`);
    return;
  }
  const domain = data.domains?.[cell.expert];
  const always = layer.shared_experts ? `, ${layer.shared_experts} more always` : "";
  const share = layer.all ? `${percent(layer.shares[cell.expert])} of the choices` : "no tokens yet";
  setText("heat-cell", `Layer ${layer.layer}, expert ${cell.expert}${domain ? ` (${domain})` : ""}: ${share}; ` +
    `a token takes ${layer.experts_per_token} of ${layer.shares.length}${always}.`);
}

function select(row, expert) {
  if (!data?.layers.length) return;
  row = Math.max(0, Math.min(data.layers.length - 1, row));
  expert = Math.max(0, Math.min(data.layers[row].shares.length - 1, expert));
  cell = data.layers[row].shares.length ? { row, expert } : null;
  draw();
  tell();
}

export function drawHeat(routing) {
  const layers = shares(routing);
  const counted = layers.some((layer) => layer.shares.length);
  show($("heat-body"), counted);
  show($("heat-none"), !counted);
  if (!counted) {
    setText("heat-none", layers.length ? "No tokens yet" : "This model is dense: it has no experts");
    data = null;
    return;
  }
  const most = Math.max(...layers.flatMap((layer) => layer.shares));
  data = { layers, most: most || 1, tokens: routing.tokens, seconds: routing.seconds, domains: routing.expert_domains };
  $("heat").dataset.tokens = routing.tokens;
  setText("heat-most", most ? percent(most) : "-");
  const busiest = layers.filter((layer) => layer.all).map((layer) => {
    const top = layer.shares.indexOf(Math.max(...layer.shares));
    return `layer ${layer.layer} expert ${top} ${percent(layer.shares[top])}`;
  });
  $("heat").setAttribute("aria-label", `Load of the experts. Busiest: ${busiest.slice(0, 8).join(", ") || "none"}`);
  draw();
  tell();
}

// Share of each domain among the choices, by the domain that its experts belong to.
export function domainShares(routing) {
  if (!routing.expert_domains) return null;
  const sums = new Map(routing.expert_domains.map((domain) => [domain, 0]));
  let all = 0;
  for (const layer of routing.layers) {
    (layer.counts ?? []).forEach((count, expert) => {
      const domain = routing.expert_domains[expert];
      sums.set(domain, (sums.get(domain) ?? 0) + count);
      all += count;
    });
  }
  return { all, sums };
}

export function startHeat() {
  const element = $("heat");
  element.addEventListener("pointermove", (event) => {
    if (!data) return;
    const size = geometry(element.clientWidth);
    const expert = Math.floor((event.offsetX - size.left) / size.width);
    if (expert >= 0) select(Math.floor(event.offsetY / size.height), expert);
  });
  element.addEventListener("pointerleave", () => { cell = null; if (data) { draw(); tell(); } });
  element.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    select((cell?.row ?? 0) + (cell ? step[0] : 0), (cell?.expert ?? 0) + (cell ? step[1] : 0));
  });
  element.addEventListener("blur", () => { cell = null; if (data) { draw(); tell(); } });
  document.addEventListener("theme", draw);
  document.addEventListener("token", (event) => { chosen = event.detail; draw(); });
  new ResizeObserver(draw).observe(element);
}
