// Draws the book's figures when they come near the view, with libraries that are fetched once and only where needed.
// A browser keeps about 16 drawing contexts a page and drops the oldest without a word: beyond LIVE figures, those out
// of view are taken down, their state kept, and drawn again on return.
(() => {
  const LIVE = 8;
  const folder = new URL("dhpe/", document.currentScript.src);
  const loading = {};
  const script = (name) => loading[name] ??= new Promise((resolve, reject) => {
    const tag = Object.assign(document.createElement("script"), { src: new URL(name, folder).href, onload: resolve });
    tag.onerror = () => reject(new Error(`${name} is missing beside the page`));
    document.head.append(tag);
  });
  const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--pst-color-text-base").trim() || "#222";
  const payload = (place) => place.payload ??= JSON.parse(place.querySelector("script").textContent);

  // For each slider of a plotly figure a native slider without a picture lies over it: it takes the focus and the keys,
  // and shows where the focus is. The mouse goes to plotly's own.
  function keySliders(graph) {
    const inputs = (graph.layout.sliders ?? []).map((slider, k) => {
      const input = Object.assign(document.createElement("input"), { type: "range", className: "dhpe-keys", min: 0, max: slider.steps.length - 1 });
      input.setAttribute("aria-label", (slider.currentvalue?.prefix ?? "").replace(/[\s=:]+$/, "") || "slider");
      input.addEventListener("input", async () => {
        const { method, args } = slider.steps[input.value];
        await Plotly.relayout(graph, { [`sliders[${k}].active`]: +input.value });
        await Plotly[method](graph, ...structuredClone(args));
      });
      graph.append(input);
      return input;
    });
    const follow = () => graph.querySelectorAll(".slider-group").forEach((group, k) => {
      const box = group.getBoundingClientRect(), frame = graph.getBoundingClientRect(), { steps, active = 0 } = graph.layout.sliders[k];
      Object.assign(inputs[k].style, { left: `${box.left - frame.left}px`, top: `${box.top - frame.top}px`, width: `${box.width}px`, height: `${box.height}px` });
      inputs[k].value = active;
      inputs[k].setAttribute("aria-valuetext", steps[active].label);
    });
    if (!inputs.length) return;
    graph.on("plotly_afterplot", follow);
    graph.on("plotly_sliderchange", follow);
    graph.on("plotly_sliderend", ({ slider }) => inputs[slider._index]?.focus({ preventScroll: true }));
    follow();
  }

  async function ours(place, { mount }) {
    const view = await mount(place, payload(place), { saved: place.saved });
    return {
      recolour() {},
      remove() {
        place.saved = view.save();
        view.dispose();
      },
    };
  }

  // Breaks the name of a row into lines of at most so many letters, tags not counted; earlier breaks are dropped.
  const inLines = (name, letters) => name.split(/ |<br>/).reduce((lines, word) => {
    const longer = `${lines.at(-1)} ${word}`.trim();
    return longer.replace(/<[^>]*>/g, "").length > letters ? [...lines, word] : [...lines.slice(0, -1), longer];
  }, [""]).filter(Boolean);

  // On a phone, buttons fit into one row, long names of rows break, and a wide scene is smaller.
  function narrow(layout) {
    const { height, scene, updatemenus } = layout;
    const smaller = { updatemenus: updatemenus?.map((menu) => ({ ...menu, font: { size: 10 } })) };
    const axes = Object.keys(layout).filter((name) => /^yaxis\d*$/.test(name) && layout[name].categoryarray);
    for (const axis of axes) {
      const names = layout[axis].categoryarray, lines = names.map((name) => inLines(name, 24));
      const rows = names.length * Math.max(46, 13 * Math.max(...lines.map((one) => one.length)) + 6);
      smaller.height = Math.max(height, (rows + 120) / (axes.length > 1 ? 0.8 : 1)); // `stacked` takes 0.8 of it
      smaller[axis] = { ...layout[axis], tickvals: names, ticktext: lines.map((one) => one.join("<br>")), tickfont: { size: 10 } };
    }
    if (scene?.aspectratio?.x > 2) {
      const aspectratio = Object.fromEntries(Object.entries(scene.aspectratio).map(([axis, length]) => [axis, length / 1.5]));
      smaller.scene = { ...scene, aspectratio };
    }
    return stacked({ ...layout, ...smaller });
  }

  // Puts plots that stand side by side below each other.
  function stacked(layout) {
    const across = Object.keys(layout).filter((name) => /^xaxis\d*$/.test(name) && layout[name].domain);
    const starts = [...new Set(across.map((name) => layout[name].domain[0]))].sort((a, b) => a - b), n = starts.length;
    if (n < 2) return layout;
    const height = 0.8 * n * layout.height, gap = 108 / height, size = (1 - (n - 1) * gap) / n;
    const top = (x) => 1 - (size + gap) * (starts.filter((start) => start <= x).length - 1);
    const placed = across.flatMap((name) => {
      const { domain: [low, high], anchor = "y" } = layout[name], y = `yaxis${anchor.slice(1)}`;
      const right = high === Math.max(...across.map((other) => layout[other].domain[1])) ? high : 1; // beside an axis on the right
      return [[name, { ...layout[name], domain: [0, right] }], [y, { ...layout[y], domain: [top(low) - size, top(low)], showticklabels: true }]];
    });
    const annotations = layout.annotations?.map((note) => note.yref === "paper" && note.xref === "paper" ? { ...note, x: 0.5, y: top(note.x) } : note);
    return { ...layout, ...Object.fromEntries(placed), annotations, height };
  }

  // On a phone the legend stands below the plots, in room of its own.
  async function legendBelow(graph) {
    const room = graph.querySelector(".legend")?.getBBox().height;
    if (!room || graph.layout.sliders) return;
    const { height, margin } = graph.layout, legend = { ...graph.layout.legend, orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom" };
    await Plotly.relayout(graph, { legend, height: height + room, margin: { ...margin, b: (margin.b ?? 80) + room } });
  }

  // Each kind of figure: draw(place) -> { recolour, remove }.
  const kinds = {
    async "dhpe-plotly"(place) {
      await script("plotly.min.js");
      const figure = payload(place), graph = document.createElement("div"), clear = "rgba(0,0,0,0)";
      graph.style.height = "100%";
      place.append(graph);
      const lines = { gridcolor: "rgba(128,128,128,.25)", zerolinecolor: "rgba(128,128,128,.25)" }; // visible on white and on black
      for (const name of Object.keys(figure.layout).filter((name) => /^[xy]axis\d*$/.test(name))) figure.layout[name] = { ...lines, ...figure.layout[name] };
      const small = place.clientWidth < 500, first = !figure.drawn;
      const layout = { ...(small && first ? narrow(figure.layout) : figure.layout), paper_bgcolor: clear, plot_bgcolor: clear, modebar: { bgcolor: clear, color: "rgb(128,128,128)" }, font: { ...figure.layout?.font, color: ink() } };
      await Plotly.newPlot(graph, { ...figure, layout, config: { responsive: true, displaylogo: false, displayModeBar: small || matchMedia("(hover: none)").matches ? false : "hover", ...figure.config } });
      if (small && first) await legendBelow(graph);
      place.style.height = `${graph.layout.height}px`;
      figure.drawn = true;
      keySliders(graph);
      return {
        recolour: () => Plotly.relayout(graph, { "font.color": ink() }),
        remove() {
          figure.layout = graph.layout;
          Plotly.purge(graph);
          graph.remove();
        },
      };
    },
    async "dhpe-viewer"(place) {
      await script("viewer.js");
      return ours(place, dhpeViewer);
    },
    async "dhpe-triangle"(place) {
      await script("triangle.js");
      return ours(place, dhpeTriangle);
    },
  };

  const near = new Set(), drawn = new Map();

  async function draw(place) {
    if (drawn.has(place)) return;
    drawn.set(place, null); // on its way
    const kind = Object.keys(kinds).find((name) => place.classList.contains(name));
    try {
      drawn.set(place, await kinds[kind](place));
    } catch (error) {
      place.append(Object.assign(document.createElement("p"), { className: "dhpe-failed", textContent: `This figure cannot be drawn: ${error.message}` }));
      return;
    }
    for (const [other, figure] of drawn) {
      if (drawn.size <= LIVE) break;
      if (near.has(other) || !figure) continue;
      other.style.minHeight = `${other.offsetHeight}px`; // the text below must not jump
      figure.remove();
      drawn.delete(other);
    }
  }

  // A short entry of a table and a short piece of code stay on one line, for instance "ORH-O", "16 × 3" and "--focal".
  document.querySelectorAll(".bd-article :is(td, th, :not(pre) > code)").forEach((part) => {
    if (part.textContent.trim().length < 12) part.style.whiteSpace = "nowrap";
  });

  // A punctuation mark stays on the line of the formula before it.
  document.querySelectorAll(".bd-article span.math").forEach((formula) => {
    const after = formula.nextSibling, mark = after?.nodeType === Node.TEXT_NODE && after.data.match(/^[.,:;?!)]+/)?.[0];
    if (!mark) return;
    after.deleteData(0, mark.length);
    const whole = document.createElement("span");
    whole.style.whiteSpace = "nowrap";
    formula.replaceWith(whole);
    whole.append(formula, mark);
  });

  document.querySelectorAll('a[href$=".ipynb"]').forEach((link) => { link.download = ""; }); // else a browser shows the JSON

  // On the page of the slides a button shows its sections one by one on the whole screen.
  const deck = document.querySelector("section#slides");
  if (deck) {
    const slides = [...deck.querySelectorAll(":scope > section")];
    let now = 0;
    const show = (k) => {
      now = Math.max(0, Math.min(slides.length - 1, k));
      slides.forEach((slide, other) => slide.classList.toggle("dhpe-now", other === now));
    };
    const button = Object.assign(document.createElement("button"), { className: "btn btn-primary", textContent: "Present" });
    button.addEventListener("click", async () => { await deck.requestFullscreen(); show(0); });
    deck.querySelector("h1").after(button);
    document.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1 }[event.key];
      if (document.fullscreenElement !== deck || !step || event.target.closest("input, canvas, summary")) return;
      event.preventDefault();
      show(now + step);
    });
  }

  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) near.delete(target);
      else { near.add(target); draw(target); }
    }
  }, { rootMargin: "400px 0px" });
  document.querySelectorAll(Object.keys(kinds).map((name) => `.${name}`).join()).forEach((place) => watch.observe(place));
  new MutationObserver(() => drawn.forEach((figure) => figure?.recolour()))
    .observe(document.documentElement, { attributeFilter: ["data-theme"] });
})();
