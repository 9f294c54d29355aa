// The hand with sliders: blend shapes, pose correctives and linear blend skinning in typed arrays, drawn with WebGL2.
// A stand-alone page and the book call `mount`, JupyterLab the default export (anywidget), the tests `Hand`. The script
// has no dependency and sends no request. Frames are those of the library: metres, radians, x right, y down, z away.

// ---------------------------------------------------------------------------------------------- the payload
// `viewer.py` writes all arrays as 16-bit integers: value = step * integer, and step 0 marks indices. The low bytes of an
// array come before its high bytes. One zlib stream holds all arrays.
async function unpack({ blob, arrays }) {
  const packed = Uint8Array.from(atob(blob), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const out = {};
  let at = 0;
  for (const [name, size, step] of arrays) {
    const whole = new Uint16Array(size);
    for (let i = 0; i < size; i++) whole[i] = bytes[at + i] | (bytes[at + size + i] << 8);
    out[name] = step === 0 ? whole : Float32Array.from(new Int16Array(whole.buffer), (v) => v * step);
    at += 2 * size;
  }
  return out;
}

// ---------------------------------------------------------------------------------------------- the hand model
function rotationMatrix(x, y, z) {
  const angle = Math.hypot(x, y, z);
  if (angle < 1e-9) return [1, -z, y, z, 1, -x, -y, x, 1];
  const c = Math.cos(angle), s = Math.sin(angle) / angle, k = (1 - c) / (angle * angle);
  return [c + k * x * x, k * x * y - s * z, k * x * z + s * y,
    k * y * x + s * z, c + k * y * y, k * y * z - s * x,
    k * z * x - s * y, k * z * y + s * x, c + k * z * z];
}

class Hand {
  // v(pose, shape) = skinning of (v_template + shapedirs shape + posedirs (R(pose) - I)), as in `hand/model.py`.
  static async load(payload) { return new Hand(await unpack(payload), payload.parents); }

  constructor(arrays, parents) {
    Object.assign(this, arrays);
    this.parents = parents;
    this.size = this.v_template.length;
    this.rest = new Float32Array(this.size);
    this.vertices = new Float32Array(this.size);
    this.normals = new Float32Array(this.size);
  }

  forward(pose, shape) {
    const rotations = this.parents.map((_, j) => (j === 0 ? rotationMatrix(0, 0, 0)
      : rotationMatrix(pose[3 * j - 3], pose[3 * j - 2], pose[3 * j - 1])));
    const joints = Float64Array.from(this.J_template);
    this.rest.set(this.v_template);
    shape.forEach((value, k) => {
      this.addScaled(this.rest, this.shapedirs, k, value);
      this.addScaled(joints, this.J_shapedirs, k, value);
    });
    for (let f = 0; f < 9 * (this.parents.length - 1); f++) {
      const j = 1 + Math.floor(f / 9), e = f % 9;
      this.addScaled(this.rest, this.posedirs, f, rotations[j][e] - (e % 4 === 0 ? 1 : 0));
    }
    this.skin(this.jointTransforms(rotations, joints));
    return this.vertices;
  }

  addScaled(target, directions, row, factor) {
    if (factor === 0) return;
    const n = target.length;
    for (let i = 0, at = row * n; i < n; i++) target[i] += factor * directions[at + i];
  }

  // 12 numbers for each joint: its 3x4 transform from the rest frame, world(j) = world(parent) * local(j).
  jointTransforms(rotations, joints) {
    const worlds = [];
    this.parents.forEach((parent, j) => {
      const R = rotations[j], J = joints.subarray(3 * j, 3 * j + 3);
      // about the joint's rest position: x -> R (x - J) + J
      const local = new Float64Array(12);
      for (let r = 0; r < 3; r++) {
        for (let c = 0; c < 3; c++) local[4 * r + c] = R[3 * r + c];
        local[4 * r + 3] = J[r] - (R[3 * r] * J[0] + R[3 * r + 1] * J[1] + R[3 * r + 2] * J[2]);
      }
      if (parent < 0) { worlds.push(local); return; }
      const P = worlds[parent], world = new Float64Array(12);
      for (let r = 0; r < 3; r++) {
        for (let c = 0; c < 4; c++) {
          world[4 * r + c] = P[4 * r] * local[c] + P[4 * r + 1] * local[4 + c] + P[4 * r + 2] * local[8 + c];
        }
        world[4 * r + 3] += P[4 * r + 3];
      }
      worlds.push(world);
    });
    return worlds;
  }

  skin(transforms) {
    const { rest, vertices, weights } = this, joints = transforms.length, M = new Float64Array(12);
    for (let v = 0, i = 0; i < this.size; v++, i += 3) {
      M.fill(0);
      for (let j = 0; j < joints; j++) {
        const w = weights[v * joints + j];
        if (w !== 0) for (let k = 0; k < 12; k++) M[k] += w * transforms[j][k];
      }
      const x = rest[i], y = rest[i + 1], z = rest[i + 2];
      vertices[i] = M[0] * x + M[1] * y + M[2] * z + M[3];
      vertices[i + 1] = M[4] * x + M[5] * y + M[6] * z + M[7];
      vertices[i + 2] = M[8] * x + M[9] * y + M[10] * z + M[11];
    }
  }

  vertexNormals() {
    const { faces, vertices: P, normals: N } = this;
    N.fill(0);
    for (let f = 0; f < faces.length; f += 3) {
      const a = 3 * faces[f], b = 3 * faces[f + 1], c = 3 * faces[f + 2];
      const ux = P[b] - P[a], uy = P[b + 1] - P[a + 1], uz = P[b + 2] - P[a + 2];
      const vx = P[c] - P[a], vy = P[c + 1] - P[a + 1], vz = P[c + 2] - P[a + 2];
      const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      for (const i of [a, b, c]) for (let k = 0; k < 3; k++) N[i + k] += n[k];
    }
    return N;
  }
}

// ---------------------------------------------------------------------------------------------- drawing
const VERTEX_SHADER = `#version 300 es
in vec3 position; in vec3 normal; in vec2 uv; in vec3 tint;
uniform mat3 turn; uniform vec3 offset; uniform vec2 span; uniform float perspective; uniform float lift;
out vec3 n; out vec2 texel; out vec3 colour;
void main() {
  vec3 q = turn * position + offset;
  n = turn * normal; texel = uv; colour = tint;
  gl_Position = vec4(q.x * span.x, -q.y * span.y, .3 * q.z - lift, 1. + perspective * q.z);
}`;
const FRAGMENT_SHADER = `#version 300 es
precision highp float;
in vec3 n; in vec2 texel; in vec3 colour;
uniform sampler2D skin; uniform bool textured; uniform bool lines;
out vec4 pixel;
void main() {
  if (lines) { pixel = vec4(.10, .14, .22, 1.) * .55; return; }
  vec3 N = normalize(gl_FrontFacing ? n : -n);
  vec3 base = pow(textured ? texture(skin, texel).rgb : colour, vec3(2.2));
  // A warm key light from above left, a cool fill light, and light from the sky. The key light is wrapped around grazing
  // surfaces, since skin scatters light.
  float key = dot(N, normalize(vec3(-.45, -.65, -.75))), fill = dot(N, normalize(vec3(.8, .1, -.45)));
  vec3 wrap = clamp((vec3(key) + vec3(.38, .24, .20)) / 1.3, 0., 1.);
  vec3 light = vec3(.92, .88, .82) * wrap + vec3(.16, .19, .24) * max(fill, 0.) + mix(vec3(.15, .13, .12), vec3(.30, .32, .34), .5 - .5 * N.y);
  vec3 h = normalize(normalize(vec3(-.45, -.65, -.75)) + vec3(0., 0., -1.));
  vec3 c = base * light + .055 * pow(max(dot(N, h), 0.), 22.) + .10 * base * pow(1. + min(N.z, 0.), 3.);
  if (!gl_FrontFacing) c = base * light * .35;
  pixel = vec4(pow(c, vec3(1. / 2.2)), 1.);
}`;

function compile(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  ["position", "normal", "uv", "tint"].forEach((name, slot) => gl.bindAttribLocation(program, slot, name));
  gl.linkProgram(program);
  return program;
}

// Returns each undirected edge once, as pairs of indices.
function edgesOf(faces) {
  const seen = new Set(), edges = [];
  for (let f = 0; f < faces.length; f += 3) {
    for (let k = 0; k < 3; k++) {
      const a = faces[f + k], b = faces[f + (k + 1) % 3], key = Math.min(a, b) * 65536 + Math.max(a, b);
      if (!seen.has(key)) { seen.add(key); edges.push(a, b); }
    }
  }
  return new Uint16Array(edges);
}

class Painter {
  // `corner` repeats a vertex at a seam of the texture: drawn vertex i is hand vertex corner[i].
  constructor(canvas, hand, tint, texture) {
    this.canvas = canvas;
    this.hand = hand;
    this.tint = tint;
    this.texture = texture;
    this.corner = hand.corner ?? Uint16Array.from({ length: hand.size / 3 }, (_, i) => i);
    this.cornerFaces = hand.corner_faces ?? hand.faces;
    this.edges = edgesOf(hand.faces);
    this.showEdges = false;
    this.gl = canvas.getContext("webgl2", { antialias: true });
    if (!this.gl) throw new Error("this browser offers no WebGL2");
    this.build();
  }

  build() {
    const { gl, corner } = this;
    this.program = compile(gl);
    gl.bindVertexArray(gl.createVertexArray());
    this.buffers = ["position", "normal", "uv", "tint"].map((_, slot) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(slot);
      gl.vertexAttribPointer(slot, slot === 2 ? 2 : 3, gl.FLOAT, false, 0, 0);
      return buffer;
    });
    this.fill(2, this.hand.corner_uv ?? new Float32Array(2 * corner.length));
    const tints = this.hand.colors ? this.gather(this.hand.colors)
      : Float32Array.from({ length: 3 * corner.length }, (_, i) => this.tint[i % 3]);
    this.fill(3, tints);
    // Edges are drawn between corners too; any corner of a vertex can be used.
    const cornerOf = new Uint16Array(this.hand.size / 3);
    corner.forEach((vertex, i) => { cornerOf[vertex] = i; });
    this.indices = [[this.cornerFaces], [this.edges.map((v) => cornerOf[v])]].map(([data]) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, data, gl.STATIC_DRAW);
      return { buffer, count: data.length };
    });
    if (this.texture) {
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, this.texture);
      gl.generateMipmap(gl.TEXTURE_2D);
    }
  }

  fill(slot, data) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[slot]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, data, this.gl.DYNAMIC_DRAW);
  }

  gather(values) {
    const out = new Float32Array(3 * this.corner.length);
    this.corner.forEach((vertex, i) => out.set(values.subarray(3 * vertex, 3 * vertex + 3), 3 * i));
    return out;
  }

  upload() {
    this.fill(0, this.gather(this.hand.vertices));
    this.fill(1, this.gather(this.hand.vertexNormals()));
  }

  draw({ turn, offset, span, perspective }) {
    const { gl, canvas, program } = this, at = (name) => gl.getUniformLocation(program, name);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(program);
    gl.uniformMatrix3fv(at("turn"), true, turn);
    gl.uniform3fv(at("offset"), offset);
    gl.uniform2fv(at("span"), span);
    gl.uniform1f(at("perspective"), perspective);
    gl.uniform1i(at("textured"), this.texture ? 1 : 0);
    const layers = this.showEdges ? [[gl.TRIANGLES, 0], [gl.LINES, 1]] : [[gl.TRIANGLES, 0]];
    for (const [mode, which] of layers) {
      gl.uniform1i(at("lines"), which);
      gl.uniform1f(at("lift"), which * 2e-3); // moves the lines slightly in front of their faces
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices[which].buffer);
      gl.drawElements(mode, this.indices[which].count, gl.UNSIGNED_SHORT, 0);
    }
  }
}

// ---------------------------------------------------------------------------------------------- the camera
const product = (A, B) => A.map((_, i) => {
  const r = 3 * Math.floor(i / 3), c = i % 3;
  return A[r] * B[c] + A[r + 1] * B[c + 3] + A[r + 2] * B[c + 6];
});
const apply = (A, v) => [0, 3, 6].map((r) => A[r] * v[0] + A[r + 1] * v[1] + A[r + 2] * v[2]);

// A turntable camera: the start view is turned about the screen's vertical axis, then tilted about its horizontal axis.
class Camera {
  // placement: rotation (9 numbers), scale and translation of the hand in the view. With a photo the view is orthographic
  // and shows the square of side 1; without one the hand is centred and seen in perspective.
  constructor(hand, placement, orthographic) {
    this.placement = placement;
    this.orthographic = orthographic;
    this.start = orthographic ? { yaw: 0, tilt: 0, zoom: 1 } : { yaw: 0.45, tilt: -0.2, zoom: 1 };
    Object.assign(this, this.start);
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    hand.vertices.forEach((value, i) => { low[i % 3] = Math.min(low[i % 3], value); high[i % 3] = Math.max(high[i % 3], value); });
    this.centre = low.map((value, k) => (value + high[k]) / 2);
    this.radius = Math.hypot(...low.map((value, k) => (high[k] - value) / 2));
  }

  reset() { Object.assign(this, this.start); }

  move(yaw, tilt, zoom = 1) {
    this.yaw += yaw;
    this.tilt = Math.max(-1.6, Math.min(1.6, this.tilt + tilt));
    this.zoom = Math.max(0.4, Math.min(10, this.zoom * zoom));
  }

  // Angle between the view and the start view, radians.
  get turned() { return Math.hypot(Math.sin(this.yaw / 2) * 2, this.tilt); }

  get pivot() {
    const { rotation, scale, translation } = this.placement, c = apply(rotation, this.centre);
    return c.map((value, k) => scale * value + translation[k]);
  }

  uniforms(width, height) {
    const { rotation, scale } = this.placement;
    const orbit = product(rotationMatrix(this.tilt, 0, 0), rotationMatrix(0, -this.yaw, 0));
    if (this.orthographic) {
      const pivot = this.pivot, turn = product(orbit, rotation).map((r) => 2 * r * scale * this.zoom);
      const moved = apply(turn, this.centre);
      return { turn, offset: pivot.map((p, k) => (k < 2 ? 2 * p : 0) - moved[k]), span: [1, 1], perspective: 0 };
    }
    const turn = product(orbit, rotation).map((r) => r / this.radius), fit = 1.08 * this.zoom, shorter = Math.min(width, height);
    return { turn, offset: apply(turn, this.centre).map((r) => -r), perspective: 0.22, span: [fit * shorter / width, fit * shorter / height] };
  }
}

function steer(canvas, camera, redraw) {
  const touches = new Map();
  const scrolls = () => document.documentElement.scrollHeight > innerHeight + 1;
  canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); touches.set(e.pointerId, [e.clientX, e.clientY]); });
  canvas.addEventListener("pointermove", (e) => {
    const last = touches.get(e.pointerId);
    if (!last) return;
    const now = [e.clientX, e.clientY], other = [...touches].find(([id]) => id !== e.pointerId)?.[1];
    touches.set(e.pointerId, now);
    if (other) camera.move(0, 0, Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(1, Math.hypot(last[0] - other[0], last[1] - other[1])));
    else camera.move((now[0] - last[0]) * 0.01, (now[1] - last[1]) * 0.01);
    redraw();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (e) => touches.delete(e.pointerId));
  // The wheel scrolls the page until the hand is clicked.
  canvas.addEventListener("wheel", (e) => {
    if (!e.ctrlKey && document.activeElement !== canvas && canvas.getRootNode().activeElement !== canvas && scrolls()) return;
    e.preventDefault();
    camera.move(0, 0, Math.exp(-e.deltaY * 0.0015));
    redraw();
  }, { passive: false });
  const keys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1], "+": [0, 0, 1.1], "=": [0, 0, 1.1], "-": [0, 0, 1 / 1.1] };
  canvas.addEventListener("keydown", (e) => {
    if (e.key === "Home") camera.reset();
    else if (e.key in keys) camera.move(...keys[e.key]);
    else return;
    e.preventDefault();
    redraw();
  });
}

// ---------------------------------------------------------------------------------------------- the controls
const STYLE = `
.dhpe-hand{--paper:var(--pst-color-background,var(--jp-layout-color0,Canvas));--ink:var(--pst-color-text-base,var(--jp-ui-font-color1,CanvasText));--line:var(--pst-color-border,var(--jp-border-color2,#8886));
  display:flex;flex-wrap:wrap;align-items:flex-start;gap:14px;color:var(--ink);font:13px/1.4 system-ui,sans-serif;text-align:left}
/* The hand stays in view while the sliders below or beside it are scrolled. */
.dhpe-hand .stage{position:sticky;top:var(--header,0);z-index:1;background:var(--paper);flex:1 1 320px;min-width:0;height:var(--height,440px);overflow:hidden;border:1px solid var(--line);border-radius:8px}
.dhpe-hand .stage.square{aspect-ratio:1;height:auto;max-width:var(--height,440px);max-height:90vh}
.dhpe-hand canvas,.dhpe-hand .stage img{position:absolute;inset:0;width:100%;height:100%;margin:0;border-radius:0}
.dhpe-hand canvas{cursor:grab;touch-action:none;outline-offset:-3px}
.dhpe-hand canvas:active{cursor:grabbing}
.dhpe-hand .panel{flex:0 1 290px;min-width:250px}
.dhpe-hand label.slide{display:grid;grid-template-columns:8.6em minmax(50px,1fr) 4em;align-items:center;gap:8px;margin:0;line-height:1.5;font-weight:normal}
.dhpe-hand label.slide span::first-letter{text-transform:uppercase}
.dhpe-hand input[type=range]{width:100%;margin:0;accent-color:#b4532a}
.dhpe-hand output{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;opacity:.75}
.dhpe-hand h4{margin:.6em 0 .2em;font-size:13px;font-weight:600}
.dhpe-hand h4:first-child{margin-top:0}
.dhpe-hand details{margin:0 0 3px}
.dhpe-hand details>summary{cursor:pointer;font-size:12px;opacity:.75;list-style:none}
.dhpe-hand details>summary::before{content:"▸ "}
.dhpe-hand details[open]>summary::before{content:"▾ "}
.dhpe-hand details>div{border-left:2px solid var(--line);padding-left:8px}
.dhpe-hand .tools{display:flex;gap:12px;align-items:center;flex-wrap:wrap;margin-bottom:6px}
.dhpe-hand button{font:inherit;color:inherit;background:transparent;border:1px solid var(--line);border-radius:6px;padding:2px 10px;cursor:pointer}
.dhpe-hand button:hover{border-color:currentColor}
.dhpe-hand p{margin:.5em 0 0;font-size:12px;opacity:.7}
@media (max-width:700px){.dhpe-hand .stage{max-height:90vw}.dhpe-hand .panel{flex:1 1 100%}}`;

function element(parent, tag, properties = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  parent.append(node);
  return node;
}

function slider(parent, { name, label, min, max, show, set }) {
  const row = element(parent, "label", { className: "slide" });
  element(row, "span", { textContent: label });
  const input = element(row, "input", { type: "range", min, max, step: (max - min) / 200, ariaLabel: name });
  const output = element(row, "output");
  const put = (value) => { input.value = value; output.value = show(value); };
  input.addEventListener("input", () => { output.value = show(+input.value); set(+input.value); });
  put(0);
  return put;
}

const degrees = (radians) => `${Math.round(radians * 180 / Math.PI)}°`.replace("-", "−");
const percent = (share) => `${Math.round(100 * share)} %`.replace("-", "−");
const sigmas = (value) => `${Math.abs(value) < 0.05 ? "" : value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)} σ`;

// All sliders of shape and pose. The pose of joint j is the sum of its axes times their angles.
class Controls {
  constructor(panel, payload, state, changed) {
    Object.assign(this, { payload, state, changed, refresh: [] });
    element(panel, "h4", { textContent: "Pose" });
    for (const finger of payload.fingers) this.finger(panel, finger);
    const fold = element(panel, "details");
    element(fold, "summary", { textContent: "each joint of the fingers" });
    const inside = element(fold, "div");
    for (const finger of payload.fingers) this.joints(inside, finger);
    element(panel, "h4", { textContent: "Shape" });
    payload.shape_names.forEach((name, k) => this.add(panel, { name: `shape: ${name}`, label: name, min: -3, max: 3, show: sigmas,
      get: () => state.shape[k], set: (value) => { state.shape[k] = value; } }));
  }

  finger(panel, { name, joints }) {
    const flex = joints.filter((j) => this.range(j, 0) > 0.1);
    this.add(panel, { name: `${name}: curl`, label: name, min: -1, max: 1, show: percent,
      get: () => { const shares = flex.map((j) => this.share(j)); return shares.reduce((a, b) => a + b, 0) / flex.length; },
      set: (share) => flex.forEach((j) => this.setAngle(j, 0, share * (share < 0 ? -1 : 1) * this.payload.limits[j][0][share < 0 ? 0 : 1])) });
  }

  joints(inside, { name, joints }) {
    joints.forEach((j, place) => ["flexion", "spread", "twist"].forEach((kind, k) => {
      if (this.range(j, k) <= 0.1) return;
      const [min, max] = this.payload.limits[j][k];
      this.add(inside, { name: `${name} ${place + 1}: ${kind}`, label: `${name} ${place + 1} ${kind}`, min, max, show: degrees,
        get: () => this.angle(j, k), set: (value) => this.setAngle(j, k, value) });
    }));
  }

  add(parent, { get, set, ...rest }) {
    const put = slider(parent, { ...rest, set: (value) => { set(value); this.update(); this.changed(); } });
    this.refresh.push(() => put(get()));
  }

  update() { this.refresh.forEach((f) => f()); }

  range(j, k) { const [low, high] = this.payload.limits[j][k]; return high - low; }

  angle(j, k) { return this.payload.axes[j][k].reduce((sum, a, c) => sum + a * this.state.pose[3 * j + c], 0); }

  setAngle(j, k, value) {
    const step = value - this.angle(j, k);
    this.payload.axes[j][k].forEach((a, c) => { this.state.pose[3 * j + c] += step * a; });
  }

  share(j) {
    const [low, high] = this.payload.limits[j][0], angle = this.angle(j, 0);
    return Math.max(-1, Math.min(1, angle < 0 ? (low < 0 ? -angle / low : 0) : angle / Math.max(high, 1e-6)));
  }
}

async function image(source) {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  return picture;
}

// Puts the viewer into `parent`. payload: result of `hand_payload`. saved: an earlier result of `save`. Resolves to a
// handle.
async function mount(parent, payload, { saved, changed = () => {} } = {}) {
  const hand = await Hand.load(payload);
  const { photo } = payload;
  const state = { pose: Float64Array.from(saved?.pose ?? payload.pose), shape: Float64Array.from(saved?.shape ?? payload.shape) };
  const root = element(parent, "div", { className: "dhpe-hand" });
  element(root, "style", { textContent: STYLE });
  const stage = element(root, "div", { className: photo ? "stage square" : "stage" });
  const backdrop = photo && element(stage, "img", { src: photo.image, alt: "the photo", draggable: false });
  const canvas = element(stage, "canvas", { tabIndex: 0, role: "img", ariaLabel: "The hand. Arrow keys turn it, plus and minus zoom, Home goes back." });
  const panel = element(root, "div", { className: "panel" });
  const tools = element(panel, "div", { className: "tools" });
  let painter;
  try { painter = new Painter(canvas, hand, payload.tint, payload.texture && await image(payload.texture)); }
  catch (error) { root.remove(); throw error; }
  hand.forward(payload.pose, payload.shape);
  const camera = new Camera(hand, payload.placement, Boolean(photo));
  if (saved) Object.assign(camera, saved.camera);

  let pending = 0, stale = true;
  const paint = () => {
    pending = 0;
    const ratio = Math.min(devicePixelRatio || 1, 2), width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (width === 0 || height === 0) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    if (stale) { hand.forward(state.pose, state.shape); painter.upload(); stale = false; }
    painter.draw(camera.uniforms(width, height));
    if (!backdrop) return;
    const [x, y] = camera.pivot;
    backdrop.style.opacity = Math.max(0, 1 - 4 * camera.turned);
    backdrop.style.transformOrigin = `${100 * (x + 0.5)}% ${100 * (y + 0.5)}%`;
    backdrop.style.transform = `scale(${camera.zoom})`;
  };
  const redraw = () => { pending ||= requestAnimationFrame(paint); };
  const repose = () => { stale = true; redraw(); };

  const controls = new Controls(panel, payload, state, () => { repose(); changed({ pose: [...state.pose], shape: [...state.shape] }); });
  const set = (pose, shape) => { state.pose.set(pose); state.shape.set(shape); controls.update(); repose(); };
  const button = element(tools, "button", { type: "button", textContent: "Reset" });
  button.addEventListener("click", () => { camera.reset(); set(payload.pose, payload.shape); changed({ pose: [...payload.pose], shape: [...payload.shape] }); });
  if (photo) {
    const front = element(tools, "button", { type: "button", textContent: "Back to the photo" });
    front.addEventListener("click", () => { camera.reset(); redraw(); });
    slider(tools, { name: "opacity of the mesh", label: "mesh", min: 0, max: 1, show: percent, set: (value) => { canvas.style.opacity = value; } })(1);
  }
  const edges = element(element(tools, "label", { textContent: "edges " }), "input", { type: "checkbox" });
  edges.addEventListener("change", () => { painter.showEdges = edges.checked; redraw(); });
  element(panel, "p", { textContent: "Drag to turn; click, then wheel to zoom (or pinch); arrow keys, + and − when the hand has the focus." });

  // The hand moves between its pose and a second one until somebody touches it, for half a minute at most.
  const swing = (time) => {
    if (!swinging || time - (started ??= time) > 30000) return;
    const share = (1 - Math.cos((time - started) / 800)) / 2;
    camera.yaw = camera.start.yaw + 0.5 * Math.sin((time - started) / 2100);
    set(payload.pose.map((value, k) => value + share * (payload.swing[k] - value)), payload.shape);
    requestAnimationFrame(swing);
  };
  let started;
  for (const name of ["pointerdown", "keydown", "wheel"]) root.addEventListener(name, () => { swinging = false; }, { capture: true, passive: true });

  controls.update();
  steer(canvas, camera, redraw);
  canvas.addEventListener("webglcontextlost", (e) => e.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => { painter.build(); repose(); });
  const resized = new ResizeObserver(redraw);
  resized.observe(canvas);
  paint();
  let swinging = Boolean(payload.swing) && !saved && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (swinging) requestAnimationFrame(swing);
  return {
    hand, camera, root, set,
    save: () => ({ pose: [...state.pose], shape: [...state.shape], camera: { yaw: camera.yaw, tilt: camera.tilt, zoom: camera.zoom } }),
    dispose() {
      swinging = false;
      resized.disconnect();
      cancelAnimationFrame(pending);
      painter.gl.getExtension("WEBGL_lose_context")?.loseContext();
      root.remove();
    },
  };
}

// ---------------------------------------------------------------------------------------------- anywidget
async function render({ model, el }) {
  const view = await mount(el, model.get("payload"), {
    saved: { pose: model.get("pose"), shape: model.get("shape") },
    changed: ({ pose, shape }) => { model.set("pose", pose); model.set("shape", shape); model.save_changes(); },
  });
  const follow = () => view.set(model.get("pose"), model.get("shape"));
  model.on("change:pose", follow);
  model.on("change:shape", follow);
  return () => { model.off("change:pose", follow); model.off("change:shape", follow); view.dispose(); };
}

export { Hand, mount };
export default { render };
