// Settings, which this browser keeps.

import { $, show } from "./dom.js";

const NAME = "darkhorse-settings";
const FIELDS = ["theme", "mode", "temperature", "max-tokens", "domain", "speculative", "trace"];
const DOMAINS = ["mathematics", "code", "physics", "business", "legal", "government", "biomedical", "logic", "creative",
  "general"];

function kept() {
  try {
    return JSON.parse(localStorage.getItem(NAME)) ?? {};
  } catch {
    return {};
  }
}

const value = (field) => (field.type === "checkbox" ? field.checked : field.value);

export function applyTheme() {
  const theme = $("theme").value;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  document.dispatchEvent(new Event("theme"));
}

function keep() {
  const all = {};
  for (const id of FIELDS) if (!$(id).disabled) all[id] = value($(id));
  localStorage.setItem(NAME, JSON.stringify({ ...kept(), ...all }));
  applyTheme();
}

export function openSettings() {
  $("settings").showModal();
}

export function loadSettings() {
  for (const name of DOMAINS) {
    const option = document.createElement("option");
    option.textContent = name;
    option.value = name;
    $("domain").append(option);
  }
  const all = kept();
  for (const id of FIELDS) {
    const field = $(id);
    if (!(id in all)) continue;
    if (field.type === "checkbox") field.checked = all[id] === true;
    else field.value = String(all[id]);
  }
  $("settings-form").addEventListener("change", keep);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
  $("open-settings").addEventListener("click", openSettings);
  applyTheme();
}

// What this model can do decides which settings there are.
export function fit(model) {
  const off = (id, why, text) => {
    $(id).disabled = why;
    if (why && $(id).type === "checkbox") $(id).checked = false;
    if (why && $(`${id}-why`)) $(`${id}-why`).textContent = text;
  };
  off("speculative", !model.can_draft, "this model has no modules that draft");
  off("trace", !model.has_experts, "this model has no experts");
  off("domain", !model.has_domains);
  if (!model.has_domains) $("domain").firstElementChild.textContent = "this model's experts have no domains";
  if (model.can_draft && !("speculative" in kept())) $("speculative").checked = model.drafts_by_default;
  if (!("mode" in kept())) $("mode").value = model.has_chat_template ? "chat" : "text";
  const notice = $("notice");
  const lacks = [];
  if (!model.has_experts) lacks.push("This model is dense: it has no experts, so there are no routes to show.");
  if (!model.has_chat_template) lacks.push("This model has no chat template: it continues your text. Settings can change that.");
  notice.textContent = lacks.join(" ");
  show(notice, lacks.length > 0);
}

export const isChat = () => $("mode").value === "chat";

// Fields of a request.
export function options() {
  const body = { stream: true, stream_options: { include_usage: true } };
  const temperature = $("temperature").value;
  if (temperature !== "") body.temperature = Number(temperature);
  const most = $("max-tokens").value;
  if (most !== "") body.max_tokens = Number(most);
  if ($("domain").value && !$("domain").disabled) body.domain = $("domain").value;
  if (!$("speculative").disabled) body.speculative = $("speculative").checked;
  if ($("trace").checked && !$("trace").disabled) body.trace = true;
  return body;
}
