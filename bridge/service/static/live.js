// Brings a page up to date in place while runs go on: focus, scroll and what is being typed stay.
"use strict";

const live = document.getElementById("live");
const text = document.getElementById("live-text");
const pause = document.getElementById("live-pause");
const main = document.getElementById("main");
const announce = document.getElementById("announce");
const pauseMs = Number(live.dataset.seconds) * 1000;
let paused = false;
let timer;

function tell(words, kind) {
  text.textContent = words;
  live.dataset.kind = kind;
}

/** The element that has the focus, as a selector that finds it in the new page. */
function focusedSelector() {
  const focused = document.activeElement;
  if (!main.contains(focused)) return null;
  if (focused.id) return `#${CSS.escape(focused.id)}`;
  const href = focused.getAttribute("href");
  return href === null ? focused.localName : `${focused.localName}[href="${CSS.escape(href)}"]`;
}

/** What the reader has unfolded stays unfolded. */
function keepOpen(old, element) {
  const opened = Array.from(old.querySelectorAll("details"), (one) => one.open);
  element.querySelectorAll("details").forEach((one, index) => {
    one.open = opened[index] ?? false;
  });
}

function put(fresh) {
  const before = Array.from(main.children);
  const after = Array.from(fresh.children);
  const focus = focusedSelector();
  after.forEach((element, index) => {
    const old = before[index];
    if (!old) main.append(element);
    else if (element.localName === "form" && old.localName === "form") return;
    else {
      keepOpen(old, element);
      if (old.outerHTML !== element.outerHTML) old.replaceWith(element);
    }
  });
  before.slice(after.length).forEach((element) => element.remove());
  if (focus && !main.contains(document.activeElement)) {
    main.querySelector(focus)?.focus({ preventScroll: true });
  }
}

async function update() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    put(page.getElementById("main"));
    if (document.title !== page.title) {
      document.title = page.title;
      announce.textContent = page.title;
    }
    if (!page.getElementById("live")) {
      tell("Up to date", "done");
      pause.hidden = true;
      return;
    }
    tell("Live", "live");
  } catch (error) {
    tell("The bridge does not answer; trying again", "lost");
    console.info("update failed:", error.message);
  }
  later();
}

function later() {
  clearTimeout(timer);
  if (!paused) timer = setTimeout(next, pauseMs);
}

function next() {
  if (paused) return;
  // A page nobody sees asks for nothing; it catches up when it is looked at.
  if (document.hidden) document.addEventListener("visibilitychange", next, { once: true });
  else update();
}

pause.addEventListener("click", () => {
  paused = !paused;
  clearTimeout(timer);
  pause.textContent = paused ? "Resume updates" : "Pause updates";
  tell(paused ? "Paused" : "Live", paused ? "paused" : "live");
  if (!paused) update();
});
live.hidden = false;
later();
