"use strict";
(() => {
  const make = (name, words, where) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: name, textContent: words });
    where.append(button);
    return button;
  };
  const said = document.createElement("p");
  said.className = "unseen";
  said.setAttribute("role", "status");
  document.body.append(said);

  // Sorting: a button in each heading of a column; missing values come last either way.
  const main = (cell) => {
    const copy = cell.cloneNode(true);
    for (const part of copy.querySelectorAll("small")) part.remove();
    return copy.textContent.trim().replace(/\s+/g, " ");
  };
  const value = (cell) => {
    const text = cell ? main(cell).replaceAll("−", "-").replace(/^≥ /, "") : "";
    if (text === "" || text === "–") return null;
    const time = /^(?:(\d+) h ?)?(?:(\d+) min ?)?(?:(\d+) s)?$/.exec(text);
    if (time) return 3600 * (time[1] || 0) + 60 * (time[2] || 0) + Number(time[3] || 0);
    const number = /^[+-]?[\d,]*\.?\d+(?= |$)/.exec(text);
    return number ? Number(number[0].replaceAll(",", "")) : text;
  };
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true }));
  const at = (row, column) => {
    let place = 0;
    for (const cell of row.cells) {
      if (place === column) return cell.colSpan === 1 ? cell : null;
      place += cell.colSpan;
    }
    return null;
  };
  const grid = (table) => {
    const taken = [];
    [...table.tHead.rows].forEach((row, y) => {
      let x = 0;
      for (const cell of row.cells) {
        while ((taken[y] ||= [])[x]) x += 1;
        for (let v = 0; v < cell.rowSpan; v += 1) for (let u = 0; u < cell.colSpan; u += 1) (taken[y + v] ||= [])[x + u] = cell;
        x += cell.colSpan;
      }
    });
    return taken;
  };
  const sort = (table, head, column) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      const keys = new Map(rows.map((row) => [row, value(at(row, column))]));
      const known = rows.filter((row) => keys.get(row) !== null).sort((a, b) => (up ? 1 : -1) * order(keys.get(a), keys.get(b)));
      body.append(...known, ...rows.filter((row) => keys.get(row) === null));
    }
    said.textContent = `Sorted by ${main(head)}, ${up ? "ascending" : "descending"}`;
  };
  for (const table of document.querySelectorAll("main table:not(.matrix, .printed)")) {
    if (!table.tHead || ![...table.tBodies].some((b) => b.querySelectorAll("tr:not(.group)").length > 1)) continue;
    grid(table).at(-1).forEach((head, column) => {
      if (head.colSpan > 1 || head.querySelector("a, button")) return;
      const inside = [...head.childNodes];
      const button = make("sort", "", head);
      button.append(...inside);
      button.addEventListener("click", () => sort(table, head, column));
    });
  }

  // Copying: for a spreadsheet what is shown, deviation and ends of the interval in columns of their own; for a paper
  // what the page carries.
  const ends = [["sd", /^± (\S+)$/], ["low", /^\[(\S+), \S+\]$/], ["high", /^\[\S+, (\S+)\]$/]];
  const plainNumber = (text) => text.replaceAll("−", "-").replaceAll(",", "");
  const beside = (cell, form) => {
    for (const part of cell ? cell.querySelectorAll("small") : []) {
      const found = form.exec(part.textContent.trim());
      if (found) return plainNumber(found[1]);
    }
    return "";
  };
  const word = (text) => (/^[=+\-@]/.test(text) ? `'${text}` : text);
  const shown = (cell) => {
    if (!cell) return "";
    if (!cell.classList.contains("num")) return word(main(cell));
    const found = value(cell);
    if (typeof found === "string") return word(found);
    return found === null ? "" : /^[+−\d,.]+$/.test(main(cell)) ? plainNumber(main(cell)).replace("+", "") : String(found);
  };
  const tsv = (table) => {
    const rows = [...table.querySelectorAll("tbody tr:not(.group)")].filter((row) => !row.hidden);
    const heads = grid(table);
    const lines = [[], ...rows.map(() => [])];
    heads.at(-1).forEach((_, column) => {
      const cells = rows.map((row) => at(row, column));
      const add = (name, texts) => [name, ...texts].forEach((text, n) => lines[n].push(text));
      const name = [...new Set(heads.map((row) => row[column]))].map(main).join(" ");
      add(name, cells.map(shown));
      for (const [end, form] of ends) {
        const texts = cells.map((cell) => beside(cell, form));
        if (texts.some(Boolean)) add(`${name} ${end}`, texts);
      }
    });
    return lines.map((line) => `${line.join("\t")}\n`).join("");
  };
  const write = async (words) => {
    try {
      await navigator.clipboard.writeText(words);
    } catch {
      const field = document.createElement("textarea");
      field.value = words;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  };
  const copier = (tools, words, name, content) => {
    const button = make("copy", words, tools);
    button.setAttribute("aria-label", name);
    button.addEventListener("click", async () => {
      await write(content());
      button.focus();
      button.textContent = "Copied";
      said.textContent = `${name}: copied`;
      setTimeout(() => { button.textContent = words; }, 1500);
    });
  };
  const tools = (box) => {
    const row = document.createElement("div");
    row.className = "tools";
    box.after(row);
    return row;
  };
  for (const box of document.querySelectorAll("main .scroll:has(> table)")) {
    const what = box.getAttribute("aria-label").replace(/^Table: /, "");
    const table = box.querySelector("table");
    const latex = box.querySelector("template");
    const row = tools(table);
    copier(row, "Copy TSV", `Copy as TSV: ${what}`, () => tsv(table));
    if (latex) copier(row, "LaTeX", `Copy as LaTeX: ${what}`, () => latex.content.textContent);
  }
  for (const block of document.querySelectorAll("pre.toml")) {
    copier(tools(block), "Copy TOML", "Copy setup as TOML", () => block.textContent);
  }

  // A field above a table leaves the rows in which each of its words occurs.
  for (const field of document.querySelectorAll("input[data-filter]")) {
    const box = field.closest(".find");
    const list = [...document.querySelectorAll(`${field.dataset.filter} tbody tr:not(.group)`)];
    const count = box.querySelector("[role=status]");
    const texts = list.map((row) => row.textContent.toLowerCase().replaceAll("−", "-"));
    const filter = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      list.forEach((row, n) => { row.hidden = !words.every((word) => texts[n].includes(word)); });
      count.textContent = `${list.filter((row) => !row.hidden).length} of ${list.length}`;
    };
    box.hidden = list.length < 8;
    field.addEventListener("input", filter);
    if (field.value) filter();
  }

  // A box that does not scroll is no stop of the keyboard.
  const stops = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else if (box !== document.activeElement) box.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", stops);
  document.addEventListener("toggle", stops, true);
  stops();
})();
