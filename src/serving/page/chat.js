// The conversation: asking, streaming, stopping.

import { request, stream, Told } from "./api.js";
import { $, announce, joules, make, number, percent, show, whole } from "./dom.js";
import { isChat, options } from "./settings.js";
import { addTrace, dropTraces } from "./tokens.js";

const turns = [];
let running = null;

function fail(message) {
  const error = $("error");
  error.textContent = message;
  show(error, message !== "");
}

function isAtEnd() {
  const all = $("messages");
  return all.scrollHeight - all.scrollTop - all.clientHeight < 60;
}

function toEnd() {
  $("messages").scrollTop = $("messages").scrollHeight;
}

function addMessage(role, text) {
  show($("empty"), false);
  const body = make("div", { class: "text", text });
  const who = make("p", { class: "who", text: role === "user" ? "You" : "Model" });
  const message = make("article", { class: `message ${role}`, "aria-label": role === "user" ? "You" : "Model" }, who, body);
  $("messages").append(message);
  toEnd();
  return { message, body };
}

function fact(list, name, value, kind = "") {
  list.append(make("li", { class: kind }, `${name} `, make("b", { text: value })));
}

// Figures of an answer. What was not measured is left out or said in words.
function addFacts(message, answer) {
  const list = make("ul", { class: "facts", "aria-label": "Figures of this answer" });
  const { usage, speculation } = answer;
  if (usage) {
    const seconds = (answer.ended - answer.first) / 1000;
    fact(list, "tokens", whole(usage.completion_tokens));
    if (usage.completion_tokens > 1 && seconds > 0) fact(list, "tokens/s", number((usage.completion_tokens - 1) / seconds));
    if (usage.energy) {
      const energy = fact;
      energy(list, "energy", joules(usage.energy.joules), "joules");
      energy(list, "per token", joules(usage.energy.decode_joules / Math.max(1, usage.completion_tokens - 1)));
      list.title = `${usage.energy.source}: prompt ${joules(usage.energy.prefill_joules)}, answer ${joules(usage.energy.decode_joules)}`;
    } else {
      fact(list, "energy", "not measured");
    }
  }
  if (speculation) {
    const sum = (counts) => counts.reduce((a, b) => a + b, 0);
    const drafted = sum(speculation.drafted);
    fact(list, "drafts accepted", drafted > 0 ? percent(sum(speculation.accepted) / drafted) : "none drafted");
  }
  if (answer.why === "length") fact(list, "ended by", "the number of tokens");
  if (answer.stopped) fact(list, "stopped", "figures come with whole answers");
  message.append(list);
}

async function answerTo(body, path, text) {
  const { message, body: shown } = addMessage("assistant", "");
  message.classList.add("running");
  const answer = { text, first: 0, ended: 0 };
  try {
    for await (const event of stream(path, body, running.signal)) {
      if (event.usage) answer.usage = event.usage;
      const choice = event.choices[0];
      if (!choice) continue;
      const more = choice.delta?.content ?? choice.text ?? "";
      if (more) {
        const follows = isAtEnd();
        answer.first ||= performance.now();
        answer.text += more;
        shown.append(more);
        if (follows) toEnd();
      }
      if (choice.finish_reason) {
        answer.ended = performance.now();
        answer.why = choice.finish_reason;
        answer.trace = choice.trace;
        answer.speculation = choice.speculation;
      }
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    answer.stopped = true;
  } finally {
    message.classList.remove("running");
    if (!answer.text && !answer.why && !answer.stopped) message.remove();
  }
  const follows = isAtEnd();
  addFacts(message, answer);
  if (answer.trace) addTrace(message, shown, answer);
  if (follows) toEnd();
  announce(answer.stopped ? "Stopped" : `Answer complete, ${whole(answer.usage?.completion_tokens)} tokens`);
  return answer;
}

async function ask(event) {
  event.preventDefault();
  const prompt = $("prompt");
  const text = prompt.value;
  if (running || text.trim() === "") return;
  fail("");
  running = new AbortController();
  show($("stop"), true);
  show($("send"), false);
  document.dispatchEvent(new Event("busy"));
  const user = addMessage("user", text);
  prompt.value = "";
  try {
    if (isChat()) {
      const messages = [...turns, { role: "user", content: text }];
      const answer = await answerTo({ ...options(), messages }, "/v1/chat/completions", "");
      turns.push(messages.at(-1), { role: "assistant", content: answer.text });
    } else {
      await answerTo({ ...options(), prompt: text }, "/v1/completions", "");
    }
  } catch (error) {
    user.message.remove();
    if (!prompt.value) prompt.value = text;
    if (!document.querySelector(".message")) show($("empty"), true);
    fail(error instanceof Told ? error.message : `The page failed: ${error.message}`);
  } finally {
    running = null;
    show($("stop"), false);
    show($("send"), true);
    prompt.focus();
  }
}

function anew() {
  running?.abort();
  turns.length = 0;
  for (const message of document.querySelectorAll(".message")) message.remove();
  dropTraces();
  show($("empty"), true);
  fail("");
  $("prompt").focus();
}

export const isRunning = () => running !== null;

export function startChat() {
  $("ask").addEventListener("submit", ask);
  $("stop").addEventListener("click", () => running?.abort());
  $("new-chat").addEventListener("click", anew);
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("ask").requestSubmit();
    } else if (event.key === "Escape" && running) {
      running.abort();
    }
  });
}

// The trace that the server keeps, to look a token up again.
export const keptTrace = (id) => request(`/api/trace/${encodeURIComponent(id)}`).then((it) => it.json());
