"use strict";
(() => {
  const contents = document.querySelector("nav.contents details");
  const narrow = matchMedia("(max-width: 63rem)");
  const fold = () => { contents.open = !narrow.matches; };
  fold();
  narrow.addEventListener("change", fold);
  contents.addEventListener("click", (event) => {
    if (narrow.matches && event.target.closest("a")) contents.open = false;
  });

  const links = new Map();
  for (const link of contents.querySelectorAll("a")) links.set(link.hash.slice(1), link);
  const heads = [...document.querySelectorAll("[id]")].filter((head) => links.has(head.id));
  let current = null;
  const mark = () => {
    let found = heads[0];
    for (const head of heads) {
      if (head.getBoundingClientRect().top > innerHeight * 0.25) break;
      found = head;
    }
    const link = found && links.get(found.id);
    if (!link || link === current) return;
    if (current) current.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    current = link;
    if (!narrow.matches) {
      const frame = contents.parentElement;
      const top = link.offsetTop - frame.clientHeight / 2;
      if (Math.abs(top - frame.scrollTop) > frame.clientHeight / 3) frame.scrollTop = top;
    }
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();

  // A link to a run opens it; so do browsers that open what a link leads into.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target?.closest("article.run > details");
    if (!details || details.open) return;
    details.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("main details:not(.entry, .methods, .run details)")) details.open = true;
  });
})();
