"use strict";
(() => {
  const entries = [...document.querySelectorAll("details.entry")];
  if (!entries.length) return;
  const box = document.querySelector(".logbook .find");
  const field = box.querySelector("input");
  const said = box.querySelector("[role=status]");
  box.hidden = false;

  // The list is one stop of the keyboard: the arrow keys go from entry to entry.
  const heads = entries.map((entry) => entry.querySelector("summary"));
  const stop = (head) => { for (const one of heads) one.tabIndex = one === head ? 0 : -1; };
  const step = { ArrowDown: (n) => n + 1, ArrowUp: (n) => n - 1, Home: () => 0, End: (_, last) => last };
  for (const head of heads) {
    head.addEventListener("focus", () => stop(head));
    head.addEventListener("keydown", (event) => {
      if (!(event.key in step) || event.ctrlKey || event.metaKey || event.altKey) return;
      const shown = heads.filter((one) => !one.parentElement.hidden);
      shown[step[event.key](shown.indexOf(head), shown.length - 1)]?.focus();
      event.preventDefault();
    });
  }

  // Each word must occur somewhere in an entry: in its heading, a field, a figure or a note.
  let texts = null;
  const plain = (text) => text.toLowerCase().replaceAll("−", "-");
  const filter = () => {
    texts ||= entries.map((entry) => plain(entry.textContent));
    const words = plain(field.value).split(/\s+/).filter(Boolean);
    let shown = 0;
    entries.forEach((entry, n) => {
      entry.hidden = !words.every((word) => texts[n].includes(word));
      if (!entry.hidden) shown += 1;
    });
    stop(heads.find((head) => !head.parentElement.hidden));
    said.textContent = words.length ? `${shown} of ${entries.length} entries` : `${entries.length} entries`;
  };
  field.addEventListener("input", filter);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && field.value) {
      field.value = "";
      filter();
      event.preventDefault();
    } else if (event.key === "Enter" || event.key === "ArrowDown") {
      entries.find((entry) => !entry.hidden)?.querySelector("summary").focus();
      event.preventDefault();
    }
  });
  if (field.value) filter();
  else stop(heads[0]);

  // A link to an entry opens it, also where the filter hides it.
  const open = () => {
    const entry = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!entry || !entry.matches("details.entry")) return;
    if (entry.hidden) {
      field.value = "";
      filter();
    }
    entry.open = true;
    entry.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
})();
