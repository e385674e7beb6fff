"use strict";
(() => {
  // The values of a panel are in its data-plot; the x axis in it says where they stand. A panel on a logarithmic scale
  // names by data-of the one that has them.
  const svgNs = "http://www.w3.org/2000/svg";
  const known = new WeakMap();
  const read = (svg) => {
    if (!known.has(svg)) {
      const source = svg.dataset.of ? document.getElementById(svg.dataset.of).closest("svg") : svg;
      const plot = JSON.parse(source.dataset.plot);
      const view = svg.getAttribute("viewBox");
      const [to, from] = [view, source === svg ? view : read(source).view].map((box) => box.split(" "));
      for (const n of [2, 3]) plot.x[n] += to[0] - from[0];
      for (const n of [0, 1]) plot.y[n] += to[1] - from[1];
      const lines = plot.lines.map(([name, seed, colour, places, text]) => {
        const values = [];
        for (const word of text.split(",")) values.push(word === "" ? values.at(-1) : word === "-" ? null : Number.isNaN(+word) ? word : +word);
        const whole = places.length === 2 && values.length > 2;
        return { name, seed, colour, points: values.map((v, n) => [whole ? places[0] + n : places[n], v]) };
      });
      const all = [...new Set(lines.flatMap((line) => line.points.map((p) => p[0])))].sort((a, b) => a - b);
      known.set(svg, { plot, lines, all, view });
    }
    return known.get(svg);
  };
  const place = ([low, high, from, to, log], x) => {
    const share = log ? Math.log(x / low) / Math.log(high / low) : (x - low) / (high - low);
    return from + share * (to - from);
  };
  const value = ([low, high, from, to, log], at) => {
    const share = (at - from) / (to - from);
    return log ? low ** (1 - share) * high ** share : low + share * (high - low);
  };
  const nearest = (list, x, of = (v) => v) => list.reduce((best, one) => (Math.abs(of(one) - x) < Math.abs(of(best) - x) ? one : best), list[0]);
  const words = (v) => (typeof v !== "number" ? (v === null ? "–" : v) : Math.abs(v) >= 0.01 && Math.abs(v) < 1e5 || v === 0 ? v.toFixed(3) : v.toExponential(1)).replace("-", "−");
  const element = (name, attributes) => {
    const made = document.createElementNS(svgNs, name);
    for (const [key, text] of Object.entries(attributes)) made.setAttribute(key, text);
    return made;
  };
  const off = (figure, line) => {
    const hidden = figure.hiddenLines || { name: new Set(), seed: new Set() };
    return hidden.name.has(line.name) || (line.seed !== "" && hidden.seed.has(line.seed));
  };

  // Values under the pointer, and by the arrow keys.
  const hide = (chart) => { chart.querySelector(".readout")?.remove(); chart.querySelector(".at")?.remove(); };
  const show = (chart, x) => {
    const svg = chart.querySelector("svg");
    const { plot, lines } = read(svg);
    hide(chart);
    const box = document.createElement("div");
    box.className = "readout";
    const head = document.createElement("b");
    head.textContent = plot.across === "epoch" ? `epoch ${Math.round(x)}` : `at ${+x.toPrecision(3)}`;
    box.append(head);
    for (const line of lines) {
      if (!line.points.length || off(chart.closest("figure"), line)) continue;
      const point = nearest(line.points, x, (p) => p[0]);
      if (plot.across === "epoch" && Math.abs(point[0] - x) > 0.5) continue;
      const row = document.createElement("span");
      row.className = `k${line.colour}`;
      row.textContent = `${words(point[1])} ${line.name}${line.seed === "" ? "" : `, seed ${line.seed}`}`;
      box.append(row);
    }
    const at = place(plot.x, x);
    const view = svg.viewBox.baseVal;
    svg.append(element("path", { class: "at", d: `M${at.toFixed(1)} ${plot.y[0]}V${plot.y[1]}` }));
    box.classList.toggle("left", at < view.x + view.width / 2);
    chart.append(box);
    return box.innerText;
  };

  const pixel = (svg, event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [at.x, at.y];
  };
  let current = null;
  document.addEventListener("pointermove", (event) => {
    const svg = event.target.closest?.("svg.panel");
    const chart = svg && svg.closest(".chart");
    if (current && current !== chart) hide(current);
    current = chart;
    if (!chart || drag) return;
    const { all, plot } = read(svg);
    if (all.length) show(chart, nearest(all, value(plot.x, pixel(svg, event)[0])));
  }, { passive: true });

  // Zoom: drag over a part of a chart; a double click shows all of it again.
  const zoom = (svg, view) => {
    const whole = read(svg).view;
    svg.setAttribute("viewBox", view || whole);
    svg.closest(".chart").classList.toggle("zoomed", Boolean(view) && view !== whole);
  };
  const closer = (svg, factor) => {
    const { x, y, width, height } = svg.viewBox.baseVal;
    const whole = read(svg).view.split(" ").map(Number);
    const [w, h] = [Math.min(whole[2], width * factor), Math.min(whole[3], height * factor)];
    const inside = (at, size, from, all) => Math.max(from, Math.min(at, from + all - size));
    const left = inside(x + (width - w) / 2, w, whole[0], whole[2]);
    const top = inside(y + (height - h) / 2, h, whole[1], whole[3]);
    zoom(svg, [left, top, w, h].map((v) => +v.toFixed(1)).join(" "));
  };
  let drag = null;
  document.addEventListener("pointerdown", (event) => {
    const svg = event.target.closest?.(".chart svg.panel");
    if (!svg || event.button !== 0 || event.pointerType === "touch") return;
    const [x, y] = pixel(svg, event);
    drag = { svg, x, y, area: element("rect", { class: "area" }) };
    svg.append(drag.area);
    event.preventDefault();
    svg.setPointerCapture?.(event.pointerId);
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = pixel(drag.svg, event);
    const box = { x: Math.min(x, drag.x), y: Math.min(y, drag.y), width: Math.abs(x - drag.x), height: Math.abs(y - drag.y) };
    for (const [name, size] of Object.entries(box)) drag.area.setAttribute(name, size.toFixed(1));
    drag.box = box;
  });
  const drop = () => {
    if (!drag) return;
    const { svg, area, box } = drag;
    drag = null;
    area.remove();
    if (!box || box.width < 8 || box.height < 8) return;
    const [, , wide, tall] = read(svg).view.split(" ").map(Number);
    const width = Math.max(box.width, (box.height * wide) / tall);
    const height = (width * tall) / wide;
    const view = [box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height];
    zoom(svg, view.map((v) => v.toFixed(1)).join(" "));
  };
  document.addEventListener("pointerup", drop);
  document.addEventListener("pointercancel", drop);
  document.addEventListener("dblclick", (event) => {
    const svg = event.target.closest?.(".chart svg.panel");
    if (svg) zoom(svg);
  });

  // By keyboard: a row of charts is one stop, its keys serve all of its charts at once.
  const said = document.createElement("p");
  said.className = "unseen";
  said.setAttribute("aria-live", "polite");
  document.body.append(said);
  const places = new WeakMap();
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  const factors = { "+": 0.8, "=": 0.8, "-": 1.25 };
  for (const grid of document.querySelectorAll("figure .grid[tabindex]")) {
    const charts = () => [...grid.querySelectorAll(".chart")].filter((chart) => chart.querySelector("svg.panel"));
    grid.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Escape") charts().forEach(hide);
      if (event.key in factors || event.key === "0") {
        for (const chart of charts()) {
          const svg = chart.querySelector("svg");
          if (event.key === "0") zoom(svg); else closer(svg, factors[event.key]);
        }
        return;
      }
      if (!(event.key in step) || !charts().length) return;
      event.preventDefault();
      const longest = Math.max(...charts().map((chart) => read(chart.querySelector("svg")).all.length));
      const before = places.get(grid) ?? (step[event.key] < 0 ? longest : -1);
      const at = Math.min(longest - 1, Math.max(0, before + step[event.key]));
      places.set(grid, at);
      const found = charts().map((chart) => {
        const svg = chart.querySelector("svg");
        const { all } = read(svg);
        return all.length ? `${svg.getAttribute("aria-label")}: ${show(chart, all[Math.min(at, all.length - 1)])}` : "";
      });
      said.textContent = found.join(". ").replace(/\n/g, ", ");
    });
    grid.addEventListener("blur", () => charts().forEach(hide));
  }

  // Lines off and on, by the legend.
  const draw = (figure) => {
    for (const line of figure.querySelectorAll("g.line")) {
      line.classList.toggle("hidden-line", off(figure, { name: line.dataset.name, seed: line.dataset.seed ?? "" }));
    }
  };
  const button = (label, pressed, act) => {
    const made = document.createElement("button");
    made.type = "button";
    if (pressed !== null) made.setAttribute("aria-pressed", pressed);
    made.append(...label);
    made.addEventListener("click", act);
    return made;
  };
  for (const figure of document.querySelectorAll("figure.multiples")) {
    figure.hiddenLines = { name: new Set(), seed: new Set() };
    for (const key of figure.querySelectorAll(".keys li")) {
      const [kind, name] = "name" in key.dataset ? ["name", key.dataset.name] : ["seed", key.dataset.seed];
      const toggle = button([...key.childNodes], true, () => {
        const hidden = figure.hiddenLines[kind];
        if (!hidden.delete(name)) hidden.add(name);
        toggle.setAttribute("aria-pressed", !hidden.has(name));
        draw(figure);
      });
      key.replaceChildren(toggle);
    }
  }

  // Save a figure as it is shown.
  const kept = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "opacity", "font-size", "font-weight", "text-anchor"];
  const plain = (svg) => {
    const copy = svg.cloneNode(true);
    const twins = copy.querySelectorAll("*");
    [...svg.querySelectorAll("*")].forEach((from, n) => {
      const style = getComputedStyle(from);
      if (style.display === "none") { twins[n].setAttribute("display", "none"); return; }
      for (const name of kept) twins[n].setAttribute(name, style.getPropertyValue(name));
      for (const name of ["class", "data-name", "data-seed"]) twins[n].removeAttribute(name);
    });
    for (const name of ["class", "data-plot", "data-of", "aria-describedby"]) copy.removeAttribute(name);
    return copy;
  };
  const whole = (figure) => {
    const shown = [...figure.querySelectorAll("svg[role=img]")].filter((svg) => svg.getBoundingClientRect().width > 0);
    const columns = Math.min(shown.length, shown.length > 4 ? 4 : shown.length);
    const size = shown[0].viewBox.baseVal;
    const rows = Math.ceil(shown.length / columns);
    const names = [...figure.querySelectorAll(".keys li[data-name]")].filter((key) => !figure.hiddenLines?.name.has(key.dataset.name));
    const [width, height] = [size.width * columns, size.height * rows + (names.length ? 20 : 0)];
    const root = element("svg", { xmlns: svgNs, viewBox: `0 0 ${width} ${height}`, width, height, "font-family": "sans-serif" });
    root.append(element("rect", { width, height, fill: getComputedStyle(document.body).backgroundColor }));
    shown.forEach((svg, n) => {
      const copy = plain(svg);
      for (const [name, v] of Object.entries({ x: size.width * (n % columns), y: size.height * Math.floor(n / columns), width: size.width, height: size.height })) copy.setAttribute(name, v);
      root.append(copy);
    });
    names.forEach((key, n) => {
      const at = 10 + (n * (width - 20)) / names.length;
      const line = getComputedStyle(key.querySelector("path"));
      root.append(element("path", { d: `M${at} ${height - 10}h24`, stroke: line.stroke, "stroke-width": 1.5, "stroke-dasharray": line.strokeDasharray }));
      const text = element("text", { x: at + 29, y: height - 7, "font-size": 8, fill: getComputedStyle(document.body).color });
      text.textContent = key.dataset.name;
      root.append(text);
    });
    return root;
  };
  const download = (figure, address, ending) => {
    const link = document.createElement("a");
    link.href = address;
    link.download = `${(figure.dataset.title || "figure").replace(/[^\p{L}\p{N}+.-]+/gu, "-").slice(0, 80) || "figure"}.${ending}`;
    link.click();
  };
  const source = (figure) => `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(whole(figure)))}`;
  for (const figure of document.querySelectorAll("figure.multiples, figure.forest")) {
    const tools = document.createElement("div");
    tools.className = "tools";
    tools.append(button(["Save SVG"], null, () => download(figure, source(figure), "svg")));
    tools.append(button(["PNG"], null, () => {
      const image = new Image();
      image.addEventListener("load", () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.width * 3, image.height * 3];
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        download(figure, canvas.toDataURL("image/png"), "png");
      });
      image.src = source(figure);
    }));
    const alone = button(["PDF"], null, () => {
      document.body.classList.add("alone");
      figure.classList.add("only");
      print();
    });
    alone.setAttribute("aria-label", "Print this figure, or save it as PDF");
    tools.append(alone);
    figure.append(tools);
  }
  addEventListener("afterprint", () => {
    document.body.classList.remove("alone");
    for (const figure of document.querySelectorAll("figure.only")) figure.classList.remove("only");
  });
})();
