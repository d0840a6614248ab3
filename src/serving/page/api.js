// Requests to the server that this page comes from.

import { $ } from "./dom.js";

const KEY = "darkhorse-key";

// An error that is told as it is.
export class Told extends Error {}

function headers() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

let asking = null;

// Asks for a key, once however many requests want one.
function askForKey(reason) {
  asking ??= new Promise((resolve) => {
    const dialog = $("key-dialog");
    if (reason) $("key-why").textContent = reason;
    const done = () => {
      const key = $("key").value.trim();
      if (!key) return dialog.showModal();
      sessionStorage.setItem(KEY, key);
      dialog.removeEventListener("close", done);
      asking = null;
      resolve();
    };
    dialog.addEventListener("close", done);
    dialog.showModal();
    $("key").focus();
  });
  return asking;
}

async function refusal(response) {
  let message = `the server answered with status ${response.status}`;
  try {
    const body = await response.json();
    if (typeof body.error?.message === "string") message = body.error.message;
  } catch { /* no JSON: the status says it */ }
  if (response.status === 429) {
    const seconds = response.headers.get("retry-after");
    return new Told(`The queue is full. Try again${seconds ? ` in ${seconds} s` : " later"}.`);
  }
  if (response.status === 503) return new Told("The model is being loaded. Try again when it is ready.");
  return new Told(message.charAt(0).toUpperCase() + message.slice(1));
}

// A response with status 200. Asks for a key where one is wanted.
export async function request(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...options.headers, ...headers() }, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Told("The server does not answer. Is it still running?");
    }
    if (response.status === 401) {
      const wrong = key && key === sessionStorage.getItem(KEY);
      await askForKey(wrong ? "The server does not know this key. Look it up in the file that the server was started with." : "");
      continue;
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

export const get = async (path) => (await request(path)).json();

// Events of a stream, as they come.
export async function* stream(path, body, signal) {
  const response = await request(path, {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Told("The answer broke off: the server has ended or was cut off.");
    held += value;
    let end;
    while ((end = held.indexOf("\n\n")) >= 0) {
      const data = held.slice(0, end).replace(/^data: /, "");
      held = held.slice(end + 2);
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Told(event.error.message);
      yield event;
    }
  }
}
