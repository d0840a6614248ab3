// Puts the page together.

import { startChat } from "./chat.js";
import { $ } from "./dom.js";
import { startLive } from "./live.js";
import { loadSettings } from "./settings.js";
import { startTokens } from "./tokens.js";

for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    document.body.dataset.view = button.dataset.show;
    for (const other of document.querySelectorAll("[data-show]")) other.setAttribute("aria-pressed", String(other === button));
  });
}
loadSettings();
startTokens();
startChat();
startLive();
$("prompt").focus();
