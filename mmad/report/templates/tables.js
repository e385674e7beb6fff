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
    for (const part of copy.querySelectorAll("small, .track")) part.remove();
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
  for (const table of document.querySelectorAll("main table:not(.gaps, .confusion, .printed)")) {
    if (!table.tHead || ![...table.tBodies].some((b) => b.querySelectorAll("tr:not(.group)").length > 1)) continue;
    grid(table).at(-1).forEach((head, column) => {
      if (head.colSpan > 1 || head.matches(".scale") || head.querySelector("a, button")) return;
      const inside = [...head.childNodes];
      const button = make("sort", "", head);
      button.append(...inside);
      button.addEventListener("click", () => sort(table, head, column));
    });
  }

  // Copying: what a table or a setup says, for a spreadsheet, a paper or an ablation file.
  const text = (cell) => {
    const small = [...cell.querySelectorAll("small")].map((part) => part.textContent.trim());
    return [main(cell), ...small].filter(Boolean).join(" ");
  };
  const rows = (part) => [...part].map((row) => [...row.cells]);
  const flat = (cells) => cells.flatMap((cell) => [text(cell), ...Array(cell.colSpan - 1).fill("")]);
  const tsv = (table) => {
    const heads = grid(table);
    const first = heads.at(-1).map((cell, x) => [...new Set(heads.map((row) => row[x]))].map(text).join(" "));
    const body = [...table.tBodies].flatMap((b) => rows(b.rows).map(flat));
    return [first, ...body].map((row) => row.map((one) => one.replace(/\s+/g, " ")).join("\t")).join("\n") + "\n";
  };
  const signs = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "≥": "$\\ge$",
    "≤": "$\\le$", "–": "--", "−": "$-$", "±": "$\\pm$", "…": "\\ldots{}", "×": "$\\times$", "<": "$<$", ">": "$>$" };
  const escaped = (words) => [...words.replace(/\s+/g, " ")].map((c) => signs[c] || ("&%$#_{}".includes(c) ? `\\${c}` : c)).join("");
  const line = (cells) => cells.map((cell) => (cell.colSpan > 1 ? `\\multicolumn{${cell.colSpan}}{l}{${escaped(text(cell))}}` : escaped(text(cell)))).join(" & ") + " \\\\";
  const latex = (table) => {
    const last = grid(table).at(-1);
    const heads = grid(table).map((row, y, all) => [...new Set(row)].map((cell) => {
      const words = y && all[y - 1].includes(cell) ? "" : escaped(text(cell));
      return cell.colSpan > 1 ? `\\multicolumn{${cell.colSpan}}{c}{${words}}` : words;
    }).join(" & ") + " \\\\");
    const columns = last.map((cell) => (cell.matches(".num, .arm") ? "r" : "l")).join("");
    const body = [...table.tBodies].flatMap((b) => rows(b.rows).map(line));
    return [`\\begin{tabular}{${columns}}`, "\\toprule", ...heads, "\\midrule", ...body, "\\bottomrule", "\\end{tabular}", ""].join("\n");
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
  for (const table of document.querySelectorAll("main .scroll:not(.plain) > table")) {
    if (!table.tHead) continue;
    const what = (table.parentElement.getAttribute("aria-label") || "Table").replace(/^Table: /, "");
    const row = tools(table);
    copier(row, "Copy TSV", `Copy as TSV: ${what}`, () => tsv(table));
    copier(row, "LaTeX", `Copy as LaTeX: ${what}`, () => latex(table));
    table.style.setProperty("--columns", grid(table).at(-1).length + 3);
  }
  for (const block of document.querySelectorAll("pre.toml")) {
    copier(tools(block), "Copy TOML", "Copy setup as TOML", () => block.textContent);
  }
})();
