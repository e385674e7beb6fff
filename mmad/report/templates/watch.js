"use strict";
(() => {
  const seconds = Number(document.querySelector('meta[name="mmad:watch"]').content);
  const place = `mmad:${location.pathname}`;
  const recall = () => {
    try { return JSON.parse(sessionStorage.getItem(place)) || {}; } catch { return {}; }
  };
  const store = (state) => {
    try { sessionStorage.setItem(place, JSON.stringify(state)); } catch { /* then the page begins as it is */ }
  };
  const folds = () => document.querySelectorAll("main details");
  const name = (fold) => fold.id
    || `${fold.closest("[aria-labelledby]")?.getAttribute("aria-labelledby")}/${fold.querySelector("summary").textContent.trim()}`;
  const fields = () => document.querySelectorAll("main input[id]");
  let paused = Boolean(recall().paused);

  // Where the reader is: the last heading above the upper edge, and how far above.
  const here = () => {
    let found = null;
    for (const mark of document.querySelectorAll("main [id]")) {
      if (!mark.checkVisibility()) continue;
      if (found && mark.getBoundingClientRect().top > 1) break;
      found = mark;
    }
    return found ? { id: found.id, above: found.getBoundingClientRect().top } : null;
  };
  const save = () => store({
    paused,
    at: here(),
    open: Object.fromEntries([...folds()].map((fold) => [name(fold), fold.open])),
    words: Object.fromEntries([...fields()].map((field) => [field.id, field.type === "checkbox" ? field.checked : field.value])),
  });
  const restore = ({ at, open, words }) => {
    for (const fold of folds()) if (open && name(fold) in open) fold.open = open[name(fold)];
    for (const field of fields()) {
      if (!words || !(field.id in words)) continue;
      if (field.type === "checkbox") field.checked = words[field.id];
      else if (words[field.id]) field.value = words[field.id];
      else continue;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    const mark = at && document.getElementById(at.id);
    if (mark) scrollTo({ top: scrollY + mark.getBoundingClientRect().top - at.above, behavior: "instant" });
  };
  // Do not reload while the reader types or selects text, or while the page is hidden.
  const busy = () => paused || document.hidden || !getSelection().isCollapsed
    || document.activeElement.matches("input, textarea");
  const born = performance.now();
  const reload = () => {
    if (busy() || performance.now() - born < 1000 * seconds - 100) return;
    save();
    location.reload();
  };

  addEventListener("DOMContentLoaded", () => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "live";
    const say = () => {
      button.textContent = paused ? "Paused: go on" : `Live, every ${seconds} s: pause`;
    };
    button.addEventListener("click", () => {
      paused = !paused;
      store({ ...recall(), paused });
      say();
      reload();
    });
    say();
    button.style.cssText = "position: fixed; right: 0.8rem; bottom: 0.8rem; z-index: 9; padding: 0.25rem 0.7rem; "
      + "border: 1px solid var(--rule); border-radius: 99px; background: var(--panel); color: var(--muted); "
      + "font: 0.78rem/1.5 var(--sans);";
    document.body.append(button);
    const saved = recall();
    addEventListener("load", () => requestAnimationFrame(() => restore(saved)));
    setInterval(reload, 1000 * seconds);
    addEventListener("visibilitychange", reload);
  });
})();
