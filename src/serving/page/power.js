// Power over time: one line per device, with its limit.

import { $, canvas, colour, joules, make, number, setText, show } from "./dom.js";

const SERIES = ["--series-1", "--series-2", "--series-3", "--series-4"];
const SHORTEST_S = 30;
let energy = null;

function draw() {
  if (!energy?.meter || !$("power-chart").clientWidth) return;
  const { devices } = energy.meter;
  const { history } = energy.power;
  const { context, width, height } = canvas($("power-chart"));
  const values = history.flatMap((point) => point.devices_w).filter((value) => value !== null);
  const limits = devices.map((device) => device.limit_w).filter((value) => value !== null);
  if (!values.length) return;
  const top = 1.12 * Math.max(...values, ...limits);
  const left = 4, right = width - 4, bottom = height - 16;
  const span = Math.max(SHORTEST_S, Math.ceil(history[0].age_s / 10) * 10);
  const x = (age) => right - (age / span) * (right - left);
  const y = (watts) => bottom - (watts / top) * (bottom - 14);
  context.font = "10.5px system-ui, sans-serif";
  context.fillStyle = context.strokeStyle = colour("--muted");
  context.globalAlpha = 0.5;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(left, bottom + 0.5);
  context.lineTo(right, bottom + 0.5);
  context.stroke();
  context.globalAlpha = 1;
  context.fillText(`${span} s ago`, left, height - 3);
  context.textAlign = "right";
  context.fillText("now", right, height - 3);
  context.textAlign = "left";
  devices.forEach((device, i) => {
    const line = colour(SERIES[i % SERIES.length]);
    context.strokeStyle = line;
    if (device.limit_w !== null) {
      context.setLineDash([5, 4]);
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(left, y(device.limit_w));
      context.lineTo(right, y(device.limit_w));
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = line;
      context.fillText(`limit ${number(device.limit_w, "W")}`, left + 2, y(device.limit_w) - 4);
    }
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.beginPath();
    let is_down = false;
    for (const point of history) {
      const watts = point.devices_w[i];
      if (watts === null || watts === undefined) { is_down = false; continue; }
      context[is_down ? "lineTo" : "moveTo"](x(point.age_s), y(watts));
      is_down = true;
    }
    context.stroke();
    if (devices.length === 1 && history.length > 1 && history.every((point) => point.devices_w[i] !== null)) {
      context.lineTo(x(history.at(-1).age_s), bottom);
      context.lineTo(x(history[0].age_s), bottom);
      context.globalAlpha = 0.12;
      context.fillStyle = line;
      context.fill();
      context.globalAlpha = 1;
    }
  });
}

export function drawPower(answer) {
  energy = answer;
  const metered = answer.meter !== null;
  show($("power-body"), metered);
  show($("no-meter"), !metered);
  if (!metered) {
    setText("power-source", "");
    setText("no-meter-reason", answer.no_meter ?? "");
    return;
  }
  const { watts, limit_w } = answer.power;
  setText("power-now", number(watts, "W"));
  setText("power-source", answer.meter.source);
  const limit = limit_w === null ? "" : `, limit ${number(limit_w, "W")}`;
  $("power-chart").setAttribute("aria-label", `Power over time: now ${number(watts, "W")}${limit}`);
  const { window } = answer;
  const parts = [["Prompts", window.prefill_joules], ["Answers", window.decode_joules], ["Idle", window.idle_joules]];
  $("energy-split").replaceChildren(...parts.map(([name, value]) =>
    make("div", {}, make("dt", { text: name }), make("dd", { text: window.measured_s > 0 ? joules(value) : "-" }))));
  draw();
}

export function startPower() {
  document.addEventListener("theme", draw);
  new ResizeObserver(draw).observe($("power-chart"));
}
