// A triangle to drag, with the three gradients of its mask: `dhpe_lib.rendering.renderer.silhouette` for one face.
// The book calls `mount`, JupyterLab the default export (anywidget), the tests `maskOf` and `gradientOf`. The script has
// no dependency and sends no request. Positions are in pixels: u to the right, v down, pixel (x, y) covers [x, x + 1).

// ---------------------------------------------------------------------------------------------- the formulas
const CLOSEST = 0.1; // pixels added to every distance of Kato's gradient
const TAIL = 1e-4; // a soft pixel is 0 where its probability is below this
const MIN_AREA = 1e-4; // a face whose doubled area is smaller is not drawn
const FULL = 1 - 1e-5; // a pixel with at least this coverage counts as covered and has no gradient

const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
const cross = (a, b) => a[0] * b[1] - a[1] * b[0];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const zeros = () => [[0, 0], [0, 0], [0, 0]];
const onEachPixel = (size, value) => Float64Array.from({ length: size * size }, (_, i) => value(i % size, Math.floor(i / size)));

// Returns the order of the corners in which the doubled area is positive; undefined for a face that is not drawn.
function order(positions) {
  const area = cross(minus(positions[1], positions[0]), minus(positions[2], positions[0]));
  if (!(Math.abs(area) > MIN_AREA)) return undefined;
  return area > 0 ? [0, 1, 2] : [0, 2, 1];
}

// Coverage: the area of a pixel's square under the face is the sum over the edges of G(x + 1) - G(x), where
// G = areaRightOf.
function areaRightOf(t, [low, high, height]) {
  if (t <= low) return 0;
  if (t >= high) return height * (t - (low + high) / 2);
  return height * (t - low) ** 2 / (high - low) / 2;
}

function cutToRow(a, b, top) {
  const start = clamp(a[1], top, top + 1), end = clamp(b[1], top, top + 1);
  if (start === end) return [0, 0, 0];
  const slope = (b[0] - a[0]) / (b[1] - a[1]);
  const xs = [start, end].map((y) => a[0] + (y - a[1]) * slope);
  return [Math.min(...xs), Math.max(...xs), start - end];
}

// Returns the range of t in which start + t step lies in [low, low + 1).
function within(start, step, low) {
  if (step === 0) return [0, start >= low && start < low + 1 ? 1 : 0];
  const ends = [(low - start) / step, (low + 1 - start) / step];
  return [Math.max(Math.min(...ends), 0), Math.min(Math.max(...ends), 1)];
}

const coverage = {
  mask(corners, size) {
    return onEachPixel(size, (x, y) => {
      const area = corners.reduce((sum, a, e) => {
        const edge = cutToRow(a, corners[(e + 1) % 3], y);
        return sum + areaRightOf(x + 1, edge) - areaRightOf(x, edge);
      }, 0);
      return area < FULL ? Math.max(area, 0) : 1;
    });
  },
  // An edge that moves outwards by v covers more of each pixel that it crosses, by the integral of v . n ds.
  gradient(corners, size, cotangent) {
    const total = zeros(), mask = coverage.mask(corners, size);
    corners.forEach((a, e) => {
      const next = (e + 1) % 3, step = minus(corners[next], a), outwards = [step[1], -step[0]];
      for (let y = 0; y < size; y++) {
        const row = within(a[1], step[1], y);
        for (let x = 0; x < size && row[1] > row[0]; x++) {
          const column = within(a[0], step[0], x), t0 = Math.max(row[0], column[0]), t1 = Math.min(row[1], column[1]);
          if (t1 <= t0 || mask[y * size + x] === 1) continue;
          const value = cotangent[y * size + x], ofEnd = (t1 * t1 - t0 * t0) / 2, ofStart = t1 - t0 - ofEnd;
          for (const c of [0, 1]) {
            total[e][c] += value * ofStart * outwards[c];
            total[next][c] += value * ofEnd * outwards[c];
          }
        }
      }
    });
    return total;
  },
};

// Soft: returns the squared distance s to the nearest edge (positive inside), the edge, the position t of the nearest
// point along it (0 to 1), and the vector from that point to p.
function signedSquare(p, corners) {
  let best = { square: Infinity };
  let inside = true;
  corners.forEach((a, edge) => {
    const along = minus(corners[(edge + 1) % 3], a), q = minus(p, a);
    if (cross(along, q) < 0) inside = false;
    const t = clamp((along[0] * q[0] + along[1] * q[1]) / (along[0] ** 2 + along[1] ** 2), 0, 1);
    const away = [q[0] - t * along[0], q[1] - t * along[1]], square = away[0] ** 2 + away[1] ** 2;
    if (square < best.square) best = { square, edge, t, away };
  });
  return { ...best, s: inside ? best.square : -best.square };
}

const soft = {
  mask(corners, size, sigma) {
    const farthest = -Math.log(1 / TAIL - 1) * sigma;
    return onEachPixel(size, (x, y) => {
      const { s } = signedSquare([x + 0.5, y + 0.5], corners);
      return s > farthest ? 1 / (1 + Math.exp(-s / sigma)) : 0;
    });
  },
  // dm / ds = m (1 - m) / sigma, and s moves with the nearest point of the nearest edge.
  gradient(corners, size, cotangent, sigma) {
    const total = zeros(), farthest = -Math.log(1 / TAIL - 1) * sigma;
    cotangent.forEach((value, i) => {
      const { s, edge, t, away } = signedSquare([i % size + 0.5, Math.floor(i / size) + 0.5], corners);
      if (s <= farthest) return;
      const m = 1 / (1 + Math.exp(-s / sigma)), push = (s >= 0 ? -2 : 2) * m * (1 - m) / sigma * value;
      for (const c of [0, 1]) {
        total[edge][c] += push * (1 - t) * away[c];
        total[(edge + 1) % 3][c] += push * t * away[c];
      }
    });
    return total;
  },
};

// Kato: a pixel pulls the edges in its row and column by 1 / distance, if this lowers the loss.
const inverseDistance = (distance) => 1 / (distance + (distance < 0 ? -CLOSEST : CLOSEST));

function pullOfLine(crossing, outwards, covered, values) {
  const size = values.length, inner = outwards > 0 ? Math.floor(crossing) : Math.ceil(crossing), outer = inner + outwards;
  if (inner < 0 || inner >= size || outer < 0 || outer >= size || !covered[inner] || covered[outer]) return 0;
  let total = 0;
  for (let d = outer; d >= 0 && d < size; d += outwards) if (values[d] < 0 && !covered[d]) total += values[d] * inverseDistance(d - crossing);
  for (let d = inner; d >= 0 && d < size && covered[d]; d -= outwards) if (values[d] > 0) total -= values[d] * inverseDistance(d - crossing);
  return total;
}

const kato = {
  mask(corners, size) {
    return onEachPixel(size, (x, y) => {
      const p = [x + 0.5, y + 0.5];
      return +corners.every((a, e) => cross(minus(a, p), minus(corners[(e + 1) % 3], p)) >= 0);
    });
  },
  gradient(corners, size, cotangent) {
    const total = zeros(), mask = kato.mask(corners, size), line = Array.from({ length: size }, (_, i) => i);
    corners.forEach((a, e) => {
      const b = corners[(e + 1) % 3], third = corners[(e + 2) % 3];
      for (const axis of [0, 1]) {
        const from = a[1 - axis] - 0.5, to = b[1 - axis] - 0.5; // pixel centres at whole numbers
        if (from === to) continue;
        const inside = third[axis] - a[axis] - (third[1 - axis] - a[1 - axis]) * (b[axis] - a[axis]) / (to - from);
        for (let i = Math.max(Math.ceil(Math.min(from, to)), 0); i <= Math.min(Math.max(from, to), size - 1); i++) {
          const share = (i - from) / (to - from), crossing = a[axis] - 0.5 + share * (b[axis] - a[axis]);
          const at = line.map((d) => (axis === 0 ? i * size + d : d * size + i));
          const value = pullOfLine(crossing, inside < 0 ? 1 : -1, at.map((k) => mask[k] > 0), at.map((k) => cotangent[k]));
          total[e][axis] += (1 - share) * value;
          total[(e + 1) % 3][axis] += share * value;
        }
      }
    });
    return total;
  },
};

const METHODS = { coverage, soft, kato };

// Returns the mask of a triangle, row after row. sigma: softness in square pixels, used by "soft" only.
function maskOf(method, positions, size, sigma) {
  const corners = order(positions)?.map((i) => positions[i]);
  return corners ? METHODS[method].mask(corners, size, sigma) : new Float64Array(size * size);
}

// Returns the gradient of a loss with respect to each corner; `cotangent` is its gradient with respect to the pixels.
function gradientOf(method, positions, size, cotangent, sigma) {
  const turned = order(positions), total = zeros();
  if (!turned) return total;
  METHODS[method].gradient(turned.map((i) => positions[i]), size, cotangent, sigma).forEach((value, k) => { total[turned[k]] = value; });
  return total;
}

// ---------------------------------------------------------------------------------------------- the figure
const STYLE = `
.dhpe-tri{--ink:var(--pst-color-text-base,var(--jp-ui-font-color1,CanvasText));--line:var(--pst-color-border,var(--jp-border-color2,#8886));
  display:flex;flex-wrap:wrap;gap:14px;color:var(--ink);font:13px/1.45 system-ui,sans-serif;text-align:left}
.dhpe-tri svg{flex:1 1 300px;min-width:0;max-width:440px;aspect-ratio:1;border:1px solid var(--line);border-radius:8px;user-select:none;-webkit-user-select:none}
.dhpe-tri .pixel{stroke:var(--line);stroke-width:.03}
.dhpe-tri .target{fill:none;stroke:#c77a12;stroke-width:.16;stroke-dasharray:.5 .35}
.dhpe-tri .body{fill:transparent;stroke:currentColor;stroke-width:.12;cursor:move;touch-action:none}
.dhpe-tri .corner{cursor:grab;touch-action:none}
.dhpe-tri .corner:active{cursor:grabbing}
.dhpe-tri .corner .dot{fill:var(--pst-color-background,var(--jp-layout-color0,Canvas));stroke:currentColor;stroke-width:.14}
.dhpe-tri .corner .reach{fill:transparent}
/* The page's own focus outlines are given in CSS pixels, which here would be pixels of the triangle's image. */
.dhpe-tri .body:focus,.dhpe-tri .corner:focus{outline:none!important;box-shadow:none!important}
.dhpe-tri .body:focus-visible{stroke-width:.26}
.dhpe-tri .corner:focus-visible .dot{stroke-width:.3}
.dhpe-tri .arrow{fill:none;stroke:#d0342c;stroke-width:.22;stroke-linecap:round;stroke-linejoin:round;pointer-events:none}
.dhpe-tri .panel{flex:1 1 230px;min-width:210px;display:flex;flex-direction:column;gap:10px}
.dhpe-tri fieldset{border:1px solid var(--line);border-radius:8px;margin:0;padding:6px 12px 8px}
.dhpe-tri legend{float:none;width:auto;margin:0;padding:0 4px;font-size:12px;opacity:.75}
.dhpe-tri label{display:flex;gap:8px;align-items:baseline;margin:2px 0;font-weight:normal}
.dhpe-tri label small{opacity:.72}
.dhpe-tri input{accent-color:#b4532a;margin:0}
.dhpe-tri .blur{align-items:center}
.dhpe-tri .blur input{flex:1 1 60px;min-width:60px}
.dhpe-tri .blur[hidden]{display:none}
.dhpe-tri .tools{display:flex;gap:8px;flex-wrap:wrap}
.dhpe-tri button{font:inherit;color:inherit;background:transparent;border:1px solid var(--line);border-radius:6px;padding:3px 12px;cursor:pointer}
.dhpe-tri button:hover{border-color:currentColor}
.dhpe-tri output{display:block;min-height:4.4em;font-variant-numeric:tabular-nums}
.dhpe-tri p{margin:0;font-size:12px;opacity:.72}`;

const WORDS = { coverage: "area of the pixel", soft: "blurred edges", kato: "the paper's" };
const [MARGIN, STEPS, RATE, LONGEST] = [1.5, 150, 0.2, 4];
let figures = 0;

function element(parent, tag, properties = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  parent.append(node);
  return node;
}

function drawn(parent, tag, attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

// Returns the path of an arrow from a corner along v. Its length in pixels grows with |v| towards LONGEST; a zero v gives
// no arrow.
function arrowPath([x, y], v) {
  const norm = Math.hypot(...v);
  if (norm < 1e-6) return "";
  const length = 0.5 + (LONGEST - 0.5) * (1 - Math.exp(-norm / 5)), [dx, dy] = v.map((part) => part / norm);
  const tip = [x + length * dx, y + length * dy];
  const barb = (side) => `${tip[0] - 0.5 * dx + side * 0.32 * dy} ${tip[1] - 0.5 * dy - side * 0.32 * dx}`;
  return `M${x} ${y}L${tip.join(" ")}M${barb(1)}L${tip.join(" ")}L${barb(-1)}`;
}

// Puts the figure into `parent`. payload: result of `triangle_payload`. saved: an earlier result of `save`.
function mount(parent, payload, { saved, changed = () => {} } = {}) {
  const { size, target } = payload, state = structuredClone({ ...payload, ...saved });
  const wanted = maskOf("coverage", target, size);
  const root = element(parent, "div", { className: "dhpe-tri" });
  element(root, "style", { textContent: STYLE });

  const side = size + 2 * MARGIN;
  const svg = drawn(root, "svg", { viewBox: `${-MARGIN} ${-MARGIN} ${side} ${side}`, role: "group",
    "aria-label": `A triangle on ${size} by ${size} pixels, a target outline, and an arrow of descent at each corner.` });
  const pixels = Array.from(wanted, (_, i) => drawn(svg, "rect", { class: "pixel", x: i % size, y: Math.floor(i / size), width: 1, height: 1 }));
  drawn(svg, "polygon", { class: "target", points: target.join(" ") });
  const body = drawn(svg, "polygon", { class: "body", tabindex: 0, role: "button" });
  const arrows = state.triangle.map(() => drawn(svg, "path", { class: "arrow" }));
  const corners = state.triangle.map(() => {
    const corner = drawn(svg, "g", { class: "corner", tabindex: 0, role: "button" });
    drawn(corner, "circle", { class: "reach", r: 1.1 });
    drawn(corner, "circle", { class: "dot", r: 0.42 });
    return corner;
  });

  const panel = element(root, "div", { className: "panel" });
  const choice = element(panel, "fieldset"), group = `dhpe-triangle-${figures += 1}`;
  element(choice, "legend", { textContent: "gradient of the mask" });
  const radios = Object.keys(METHODS).map((name) => {
    const label = element(choice, "label"), radio = element(label, "input", { type: "radio", name: group, value: name });
    element(element(label, "span", { textContent: `${name} ` }), "small", { textContent: WORDS[name] });
    radio.addEventListener("change", () => { state.method = name; halt(); update(); });
    return radio;
  });
  const blur = element(choice, "label", { className: "blur" });
  element(blur, "span", { textContent: "blur" });
  const blurred = element(blur, "input", { type: "range", min: 0.3, max: 4, step: 0.1, ariaLabel: "blur of the soft mask in pixels" });
  const width = element(blur, "span");
  blurred.addEventListener("input", () => { state.blur = +blurred.value; update(); });
  const compare = element(element(panel, "label", { textContent: "" }), "input", { type: "checkbox" });
  compare.after("colour the error: red too much, blue too little");
  compare.addEventListener("change", () => { state.error = compare.checked; update(); });
  const tools = element(panel, "div", { className: "tools" });
  const walk = element(tools, "button", { type: "button", textContent: "Descend" });
  const back = element(tools, "button", { type: "button", textContent: "Reset" });
  const report = element(panel, "output");
  element(panel, "p", { textContent: "Drag a corner, or the triangle; or press Tab and use the arrow keys (with Shift: a whole pixel). Longer arrows pull harder. Descend takes 150 steps of Adam." });

  function measure() {
    const sigma = state.blur ** 2, mask = maskOf(state.method, state.triangle, size, sigma);
    const difference = mask.map((m, i) => m - wanted[i]);
    const gradient = gradientOf(state.method, state.triangle, size, difference.map((d) => 2 * d), sigma);
    return { mask, difference, gradient, loss: difference.reduce((sum, d) => sum + d * d, 0) };
  }

  function update() {
    const { mask, difference, gradient, loss } = measure();
    pixels.forEach((pixel, i) => {
      const value = state.error ? difference[i] : mask[i];
      pixel.setAttribute("fill", state.error && value > 0 ? "#d0342c" : "#3f78d8");
      pixel.setAttribute("fill-opacity", (0.75 * Math.abs(value)).toFixed(3));
    });
    body.setAttribute("points", state.triangle.join(" "));
    body.setAttribute("aria-label", "The triangle. Arrow keys move all of it.");
    state.triangle.forEach(([x, y], k) => {
      corners[k].setAttribute("transform", `translate(${x} ${y})`);
      corners[k].setAttribute("aria-label", `Corner ${k + 1} at column ${x.toFixed(1)}, row ${y.toFixed(1)}. Arrow keys move it.`);
      arrows[k].setAttribute("d", arrowPath([x, y], gradient[k].map((part) => -part)));
    });
    for (const radio of radios) radio.checked = radio.value === state.method;
    blur.hidden = state.method !== "soft";
    blurred.value = state.blur;
    compare.checked = Boolean(state.error);
    width.textContent = `${state.blur.toFixed(1)} px`;
    const strongest = Math.max(...gradient.map((g) => Math.hypot(...g)));
    report.textContent = `Loss ${loss.toFixed(2)}, largest gradient at a corner ${strongest.toFixed(2)}.`
      + (strongest < 1e-6 && loss > 0.01 ? " All gradients are zero: nothing says which way to go." : "");
    changed({ triangle: state.triangle.map((place) => [...place]), method: state.method });
  }

  function shift(which, dx, dy) {
    const low = -MARGIN + 0.4, high = size + MARGIN - 0.4, moving = which.map((k) => state.triangle[k]);
    const fit = (d, c) => moving.reduce((e, place) => clamp(place[c] + e, low, high) - place[c], d);
    const step = [fit(dx, 0), fit(dy, 1)];
    moving.forEach((place) => { place[0] += step[0]; place[1] += step[1]; });
    update();
  }

  function movable(node, which) {
    let last;
    const at = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    node.addEventListener("pointerdown", (e) => { halt(); node.setPointerCapture(e.pointerId); last = at(e); });
    node.addEventListener("pointermove", (e) => {
      if (!last) return;
      const now = at(e);
      shift(which, now.x - last.x, now.y - last.y);
      last = now;
    });
    for (const name of ["pointerup", "pointercancel"]) node.addEventListener(name, () => { last = undefined; });
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    node.addEventListener("keydown", (e) => {
      if (!(e.key in ways)) return;
      e.preventDefault();
      halt();
      shift(which, ...ways[e.key].map((way) => way * (e.shiftKey ? 1 : 0.25)));
    });
  }
  movable(body, [0, 1, 2]);
  corners.forEach((corner, k) => movable(corner, [k]));

  let walking = 0;
  function halt() { cancelAnimationFrame(walking); walking = 0; walk.textContent = "Descend"; }

  function descend() {
    const mean = zeros(), square = zeros(), still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let step = 0;
    const once = () => {
      step += 1;
      const { gradient } = measure(), rate = RATE * (1 - (step - 1) / STEPS);
      gradient.forEach((g, k) => g.forEach((value, c) => {
        mean[k][c] = 0.9 * mean[k][c] + 0.1 * value;
        square[k][c] = 0.99 * square[k][c] + 0.01 * value * value;
        state.triangle[k][c] -= rate * mean[k][c] / (1 - 0.9 ** step) / (Math.sqrt(square[k][c] / (1 - 0.99 ** step)) + 1e-8);
      }));
    };
    const frame = () => {
      do once(); while (still && step < STEPS);
      update();
      if (step < STEPS) walking = requestAnimationFrame(frame); else halt();
    };
    walk.textContent = "Stop";
    walking = requestAnimationFrame(frame);
  }

  walk.addEventListener("click", () => (walking ? halt() : descend()));
  back.addEventListener("click", () => { halt(); Object.assign(state, structuredClone(payload)); update(); });
  update();
  return {
    root,
    set(values) { halt(); Object.assign(state, structuredClone(values)); update(); },
    save: () => structuredClone({ triangle: state.triangle, method: state.method, blur: state.blur, error: state.error }),
    dispose() { halt(); root.remove(); },
  };
}

// ---------------------------------------------------------------------------------------------- anywidget
function render({ model, el }) {
  let ours = false; // true while the figure itself sets the traits
  const view = mount(el, model.get("payload"), {
    saved: { triangle: model.get("triangle"), method: model.get("method") },
    changed({ triangle, method }) {
      ours = true;
      model.set({ triangle, method });
      ours = false;
      model.save_changes();
    },
  });
  const follow = () => { if (!ours) view.set({ triangle: model.get("triangle"), method: model.get("method") }); };
  model.on("change:triangle", follow);
  model.on("change:method", follow);
  return () => { model.off("change:triangle", follow); model.off("change:method", follow); view.dispose(); };
}

export { gradientOf, maskOf, mount };
export default { render };
