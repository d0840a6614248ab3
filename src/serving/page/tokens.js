// Tokens of answers, coloured by the expert that decides, and what each chose.

import { $, announce, make, number, percent, show } from "./dom.js";

const HUES = 6;
const OTHERS = 6;
const answers = [];
let chosen = null;

// The slot with the largest gate, of one layer and token; null experts have none.
function dominant(layer, at) {
  const slots = layer.slots[at];
  const experts = layer.visits.length;
  let best = null;
  slots?.forEach((slot, i) => {
    if (slot < experts && (best === null || layer.gates[at][i] > layer.gates[at][best])) best = i;
  });
  return best === null ? null : slots[best];
}

// Splits the text of an answer into its tokens; what cannot be matched stays plain.
function split(text, trace) {
  const parts = [];
  let at = 0;
  for (let i = trace.prompt_tokens; i < trace.texts.length; i += 1) {
    let token = trace.texts[i];
    if (token === "") continue;
    // a chat's answer begins without the space of its first token
    if (at === 0 && !text.startsWith(token)) token = token.trimStart();
    if (!text.startsWith(token, at)) break;
    parts.push({ text: token, at: i });
    at += token.length;
  }
  return { parts, rest: text.slice(at) };
}

function focusToken(answer, index) {
  const tokens = answer.tokens;
  const next = tokens[Math.max(0, Math.min(tokens.length - 1, index))];
  tokens.forEach((token) => token.element.setAttribute("tabindex", token === next ? "0" : "-1"));
  next?.element.focus();
}

// The layers' experts and gates of a token, in the panel.
function choose(answer, token) {
  chosen?.element.setAttribute("aria-pressed", "false");
  chosen = token;
  token.element.setAttribute("aria-pressed", "true");
  const rows = answer.trace.layers.map((layer) => {
    const slots = layer.slots[token.at] ?? [];
    const order = slots.map((slot, i) => [slot, layer.gates[token.at][i]]).sort((a, b) => b[1] - a[1]);
    const best = dominant(layer, token.at);
    const cell = make("td");
    for (const [slot, gate] of order) {
      const isNull = slot >= layer.visits.length;
      const name = make("b", { text: isNull ? "null" : `E${slot}` });
      cell.append(make("span", { class: slot === best ? "gate first" : "gate" }, name, ` ${number(gate)}`));
    }
    const row = make("tr", { "data-layer": layer.layer, "data-slots": slots.join(" ") });
    row.append(make("th", { scope: "row", text: `Layer ${layer.layer}` }), cell);
    return row;
  });
  $("token-name").textContent = JSON.stringify(token.text);
  $("token-layers").replaceChildren(make("table", {}, make("tbody", {}, ...rows)));
  show($("token-layers"), true);
  show($("token-hint"), false);
  show($("close-token"), true);
  const slots = new Map(answer.trace.layers.map((it) => [it.layer, it.slots[token.at] ?? []]));
  document.dispatchEvent(new CustomEvent("token", { detail: slots }));
  document.body.dataset.token = "chosen";
  const layer = shownLayer(answer.trace);
  announce(`Token ${token.text.trim() || "of white space"}: in layer ${layer?.layer}, expert ${layer ? dominant(layer, token.at) ?? "none" : "-"} decides`);
}

const shownLayer = (trace) => trace.layers.find((layer) => String(layer.layer) === $("layer").value) ?? trace.layers[0];

// Colours the tokens of an answer: the experts that decide most often have a colour of their own.
function colourAnswer(answer) {
  const layer = shownLayer(answer.trace);
  if (!layer) return;
  const counts = new Map();
  for (const token of answer.tokens) {
    token.expert = dominant(layer, token.at);
    if (token.expert !== null) counts.set(token.expert, (counts.get(token.expert) ?? 0) + 1);
  }
  const ranked = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const hues = new Map(ranked.slice(0, HUES).map(([expert], hue) => [expert, hue]));
  for (const { element, expert, text } of answer.tokens) {
    if (expert === null) delete element.dataset.hue;
    else element.dataset.hue = hues.get(expert) ?? OTHERS;
    const decides = expert === null ? "no expert, not read" : `expert ${expert}`;
    element.title = `Layer ${layer.layer}: ${decides}`;
    element.setAttribute("aria-label", `${text.trim() || "white space"}, ${decides}`);
  }
  const sum = ranked.reduce((all, [, count]) => all + count, 0);
  const keys = ranked.slice(0, HUES).map(([expert, count], hue) =>
    make("span", { class: "key", "data-hue": hue, text: `E${expert} ${percent(count / sum)}` }));
  const others = ranked.slice(HUES).reduce((all, [, count]) => all + count, 0);
  if (others) keys.push(make("span", { class: "key", "data-hue": OTHERS, text: `others ${percent(others / sum)}` }));
  answer.route.replaceChildren(make("span", { text: `Route in layer ${layer.layer}` }), ...keys);
}

// Makes the text of an answer one of tokens.
export function addTrace(message, shown, { text, trace }) {
  const { parts, rest } = split(text, trace);
  if (!parts.length || !trace.layers.length) return;
  const answer = { trace, tokens: [], route: make("p", { class: "route" }) };
  const elements = parts.map((part, index) => {
    // the space before a word is no part of its colour
    const text = part.text.trimStart() || part.text;
    const before = part.text.slice(0, part.text.length - text.length);
    const element = make("span", { class: "token", role: "button", "aria-pressed": "false", text, tabindex: index === 0 ? "0" : "-1" });
    element.dataset.at = part.at;
    const token = { ...part, element };
    answer.tokens.push(token);
    element.addEventListener("click", () => { focusToken(answer, index); choose(answer, token); });
    element.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 };
      if (event.key === "Enter" || event.key === " ") choose(answer, token);
      else if (event.key in steps) focusToken(answer, index + steps[event.key]);
      else if (event.key === "Home") focusToken(answer, 0);
      else if (event.key === "End") focusToken(answer, parts.length - 1);
      else return;
      event.preventDefault();
    });
    return [before, element];
  });
  shown.setAttribute("role", "group");
  shown.setAttribute("aria-label", "Tokens of the answer; arrow keys move, Enter shows the experts of one");
  shown.replaceChildren(...elements.flat(), rest);
  message.dataset.trace = trace.id;
  message.append(answer.route);
  answers.push(answer);
  offerLayers(trace.layers.map((layer) => layer.layer));
  colourAnswer(answer);
}

export function offerLayers(layers) {
  const select = $("layer");
  if (select.options.length === layers.length) return;
  select.replaceChildren(...layers.map((layer) => make("option", { value: layer, text: layer })));
  select.value = String(layers[Math.floor(layers.length / 2)]);
  show($("colouring"), layers.length > 0);
}

function closeToken() {
  chosen?.element.setAttribute("aria-pressed", "false");
  chosen?.element.focus();
  chosen = null;
  delete document.body.dataset.token;
  document.dispatchEvent(new CustomEvent("token", { detail: new Map() }));
  show($("close-token"), false);
  $("token-name").textContent = "none chosen";
  show($("token-layers"), false);
  show($("token-hint"), true);
}

export function dropTraces() {
  answers.length = 0;
  closeToken();
}

export function startTokens() {
  $("close-token").addEventListener("click", closeToken);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen && !document.querySelector("dialog[open]")) closeToken();
  });
  $("layer").addEventListener("change", () => answers.forEach(colourAnswer));
}
