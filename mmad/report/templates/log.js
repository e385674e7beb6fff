"use strict";
(() => {
  const entries = [...document.querySelectorAll("details.entry")];
  if (!entries.length) return;
  const box = document.querySelector(".logbook .find");
  const field = box.querySelector("input");
  const said = box.querySelector("[role=status]");
  box.hidden = false;

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
