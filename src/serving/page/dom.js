// Elements and numbers. Text is set as text, never as HTML.

export const $ = (id) => document.getElementById(id);

export function make(name, options = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") element.className = value;
    else if (key === "text") element.textContent = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export function show(element, visible) {
  element.hidden = !visible;
}

export function setText(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

export function announce(text) {
  $("announce").textContent = text;
}

const known = (value) => typeof value === "number" && Number.isFinite(value);

// A number with three digits or so; a dash if it is not known.
export function number(value, unit = "") {
  if (!known(value)) return "-";
  const size = Math.abs(value);
  const digits = size === 0 || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString("en", { maximumFractionDigits: digits }) + (unit && ` ${unit}`);
}

export function whole(value) {
  return known(value) ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : "-";
}

export function joules(value) {
  if (!known(value)) return "-";
  if (value > 0 && value < 0.1) return number(value * 1000, "mJ");
  return value >= 10000 ? number(value / 1000, "kJ") : number(value, "J");
}

export function percent(share) {
  if (!known(share)) return "-";
  return `${(100 * share).toLocaleString("en", { maximumFractionDigits: share < 0.1 ? 1 : 0 })} %`;
}

export function bytes(value) {
  if (!known(value)) return "-";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at + 1 < units.length) { value /= 1000; at += 1; }
  return number(value, units[at]);
}

export function duration(seconds) {
  if (!known(seconds)) return "-";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} days`;
}

// The colour that a custom property has now, for canvases.
const probe = make("span", { class: "hidden", "aria-hidden": "true" });
export function colour(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

// A canvas with as many pixels as the screen has, and its drawing context in CSS pixels.
export function canvas(element, height) {
  const scale = window.devicePixelRatio || 1;
  const width = element.clientWidth;
  if (height) element.style.height = `${height}px`;
  const tall = height || element.clientHeight;
  const size = [Math.round(width * scale), Math.round(tall * scale)];
  if (element.width !== size[0] || element.height !== size[1]) [element.width, element.height] = size;
  const context = element.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, tall);
  return { context, width, height: tall };
}
