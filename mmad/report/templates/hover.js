"use strict";
(() => {
  // Values are read from the lines in the chart, with the scales that each chart carries.
  const known = new WeakMap();
  const back = ([low, high, from, to, log], pixel) => {
    const share = (pixel - from) / (to - from);
    return log ? low ** (1 - share) * high ** share : low + share * (high - low);
  };
  const read = (svg) => {
    if (!known.has(svg)) {
      const plot = JSON.parse(svg.dataset.plot);
      const lines = [...svg.querySelectorAll("[data-s]")].map((group) => {
        const path = group.querySelector("path[d]");
        const points = [...path.getAttribute("d").matchAll(/(-?[\d.]+) (-?[\d.]+)/g)].map((m) => [+m[1], +m[2]]);
        return { name: plot.names[group.dataset.s], colour: path.style.stroke, points };
      });
      const all = [...new Set(lines.flatMap((line) => line.points.map((p) => p[0])))].sort((a, b) => a - b);
      known.set(svg, { plot, lines, all });
    }
    return known.get(svg);
  };
  const nearest = (list, x, of = (v) => v) => list.reduce((best, one) => (Math.abs(of(one) - x) < Math.abs(of(best) - x) ? one : best), list[0]);
  const digits = (v) => (Math.abs(v) >= 0.01 || v === 0 ? v.toFixed(3) : v.toExponential(1));

  const hide = (chart) => { chart.querySelector(".readout")?.remove(); };
  const show = (chart, at) => {
    const { plot, lines } = read(chart.querySelector("svg"));
    hide(chart);
    const box = document.createElement("div");
    box.className = "readout";
    const head = document.createElement("b");
    const x = back(plot.x, at);
    head.textContent = plot.across === "epoch" ? `epoch ${Math.round(x)}` : x.toFixed(2);
    box.append(head);
    for (const { name, colour, points } of lines) {
      if (!points.length) continue;
      const point = nearest(points, at, (p) => p[0]);
      if (plot.across === "epoch" && Math.abs(point[0] - at) > 0.02) continue;
      const row = document.createElement("span");
      row.textContent = `${digits(back(plot.y, point[1]))} ${name}`;
      row.style.setProperty("--dot", colour);
      box.append(row);
    }
    const view = chart.querySelector("svg").viewBox.baseVal;
    box.style.setProperty("--at", `${(100 * at) / view.width}%`);
    box.classList.toggle("left", at > view.width / 2);
    chart.append(box);
    return box.innerText;
  };

  let current = null;
  document.addEventListener("pointermove", (event) => {
    const svg = event.target.closest?.("svg[data-plot]");
    const chart = svg && svg.closest(".chart");
    if (current && current !== chart) hide(current);
    current = chart;
    if (!chart) return;
    const place = svg.getBoundingClientRect();
    const { all } = read(svg);
    if (all.length) show(chart, nearest(all, ((event.clientX - place.left) / place.width) * svg.viewBox.baseVal.width));
  }, { passive: true });

  // By keyboard: a row of charts is one stop, the arrow keys go along all of its charts at once.
  const said = document.createElement("p");
  said.className = "unseen";
  said.setAttribute("aria-live", "polite");
  document.body.append(said);
  const places = new WeakMap();
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  for (const grid of document.querySelectorAll("figure .grid")) {
    const charts = () => [...grid.querySelectorAll(".chart")].filter((chart) => chart.querySelector("svg[data-plot]"));
    grid.addEventListener("keydown", (event) => {
      if (event.key === "Escape") charts().forEach(hide);
      if (!(event.key in step) || !charts().length) return;
      event.preventDefault();
      const longest = Math.max(...charts().map((chart) => read(chart.querySelector("svg")).all.length));
      const before = places.get(grid) ?? (step[event.key] < 0 ? longest : -1);
      const place = Math.min(longest - 1, Math.max(0, before + step[event.key]));
      places.set(grid, place);
      const words = charts().map((chart) => {
        const { all } = read(chart.querySelector("svg"));
        if (!all.length) return "";
        const title = (chart.querySelector("svg").getAttribute("aria-label") || "").split(".")[0];
        return `${title}: ${show(chart, all[Math.min(place, all.length - 1)])}`;
      });
      said.textContent = words.join(". ").replace(/\n/g, ", ");
    });
    grid.addEventListener("blur", () => charts().forEach(hide));
  }
})();
