"use strict";

const ZOOMS = [1 / 4, 1 / 2, 1, 2, 3, 4, 6, 8, 12, 16];
const FIRST_ZOOMS = [1, 2, 3, 4];
const FIGURES = {
  psnr: { best: "descending", show: (value) => value.toFixed(2) },
  ssim: { best: "descending", show: (value) => value.toFixed(4) },
  error_ratio: { best: "ascending", show: (value) => value.toFixed(3) },
  error_ratio_levin: { best: "ascending", show: (value) => value.toFixed(3) },
};

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const section of document.querySelectorAll("section.benchmark")) makeViewer(section);

/* Tables: a click on a header sorts by its column, another one turns the order. */

function makeSortable(table) {
  table.tHead.addEventListener("click", (event) => {
    const header = event.target.closest("button")?.parentElement;
    if (!header) return;
    const [first, second] =
      header.dataset.first === "descending"
        ? ["descending", "ascending"]
        : ["ascending", "descending"];
    sort(table, header, header.getAttribute("aria-sort") === first ? second : first);
  });
}

function sort(table, header, order) {
  for (const other of table.tHead.rows[0].cells) {
    other.setAttribute("aria-sort", other === header ? order : "none");
  }
  const body = table.tBodies[0];
  const sign = order === "ascending" ? 1 : -1;
  const numeric = header.classList.contains("number");
  const entries = [...body.rows].map((row) => {
    const cell = row.cells[header.cellIndex];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return { row, key: numeric ? number(text) : text };
  });
  entries.sort((a, b) => {
    if (!numeric) return sign * a.key.localeCompare(b.key, undefined, { numeric: true });
    // What is lacking comes last in either order.
    if (Number.isNaN(a.key) || Number.isNaN(b.key)) return Number.isNaN(a.key) - Number.isNaN(b.key);
    return a.key === b.key ? 0 : sign * (a.key - b.key);
  });
  body.append(...entries.map((entry) => entry.row));
}

function number(text) {
  return /^inf/i.test(text) ? Infinity : Number.parseFloat(text);
}

/* Images: one viewer for each benchmark, and the table that one walks through it with. */

function makeViewer(section) {
  const { methods, images } = JSON.parse(section.querySelector("script.data").textContent);
  const find = (selector) => section.querySelector(selector);
  const viewer = find(".viewer");
  const stage = find(".stage");
  const ports = [...section.querySelectorAll(".port")];
  const panes = ["blurry", "restored", "truth"];
  const grid = find("table.grid");
  const rows = [...grid.tBodies[0].rows];
  const blurryMethod = methods.findIndex((method) => method.kind === "blurry");
  const shifts = new WeakMap();
  const state = {
    image: 0,
    method: Math.max(0, methods.findIndex((method) => method.kind === "restored")),
    left: "restored",
    right: "truth",
    aligned: true,
    zoom: null,
    centre: null,
  };
  viewer.hidden = false;

  /* What there is to see. */

  function methodOf(what) {
    if (what === "blurry") return blurryMethod;
    return what === "restored" ? state.method : Number(what);
  }

  function nameOf(what) {
    return what === "truth" || what === "blurry" ? what : methods[methodOf(what)].name;
  }

  function look(what) {
    const image = images[state.image];
    if (what === "truth") return { picture: image.truth, shift: [0, 0], lack: "no truth" };
    const score = image.scores[methodOf(what)];
    return {
      picture: what === "blurry" ? image.blurry : score.picture,
      shift: score?.shift ?? [0, 0],
      lack: score?.problem ?? "missing",
      score,
    };
  }

  function show(holder, { picture, shift, lack }, name) {
    const img = holder.querySelector("img");
    img.hidden = !picture;
    img.alt = name;
    if (picture && img.getAttribute("src") !== picture) img.src = picture;
    holder.querySelector(".lack").textContent = picture ? "" : lack;
    shifts.set(img, shift);
  }

  function describe({ score }) {
    if (!score) return "";
    if (score.psnr === null) return score.problem ?? "";
    const psnr = Number(score.psnr);
    const parts = [`${Number.isFinite(psnr) ? FIGURES.psnr.show(psnr) : "∞"} dB`, FIGURES.ssim.show(score.ssim)];
    if (score.error_ratio !== null) {
      parts.push(`ratio ${FIGURES.error_ratio.show(Number(score.error_ratio))}`);
    }
    const shift = score.shift.map((value) => `${value}`.replace("-", "−"));
    return `${parts.join(" · ")} · shift ${shift.join(", ")}`;
  }

  function update() {
    for (const side of ["left", "right"]) {
      const name = nameOf(state[side]);
      show(stage.querySelector(`.layer.${side}`), look(state[side]), name);
      stage.querySelector(`.tag.${side}`).textContent = name;
      fillSides(find(`select.${side}`), state[side]);
    }
    find(".wipe").setAttribute(
      "aria-label", `Wipe from ${nameOf(state.left)} to ${nameOf(state.right)}`);
    for (const what of panes) {
      const pane = find(`.pane.${what}`);
      const found = look(what);
      show(pane.querySelector(".layer"), found, nameOf(what));
      const title = document.createElement("b");
      title.textContent = what === "restored" ? nameOf(what) : what;
      pane.nextElementSibling.replaceChildren(title, ` ${describe(found)}`);
    }
    const image = images[state.image];
    const { kernel, kernel_problem: lack, shift } = image.scores[state.method];
    const estimated = { picture: kernel, shift: shift ?? [0, 0], lack };
    show(find(".kernel.estimated"), estimated, "estimated kernel");
    show(find(".kernel.true"), { picture: image.kernel, shift: [0, 0], lack: "unknown" }, "true kernel");
    find("select.image").value = state.image;
    find("select.method").value = state.method;
    find(".previous").disabled = state.image === 0;
    find(".next").disabled = state.image === images.length - 1;
    place();
  }

  function fillSides(select, chosen) {
    const others = methods.map((method, index) => [`${index}`, method.name]);
    const choices = [
      ["blurry", "blurry"],
      ["restored", `restored: ${methods[state.method].name}`],
      ["truth", "truth"],
      ...others.filter(([index]) => Number(index) !== blurryMethod),
    ];
    select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
    select.value = chosen;
  }

  /* Where it is seen: all ports show the same part of the image at the same zoom. */

  function frameSize() {
    const imgs = ["truth", "blurry", "restored"].map((what) => find(`.pane.${what} img`));
    const img = imgs.find((each) => !each.hidden && each.naturalWidth);
    return img && [img.naturalWidth, img.naturalHeight];
  }

  function sizeOf(port) {
    return [port.clientWidth, port.clientHeight];
  }

  function zoomNow(frame) {
    if (state.zoom) return state.zoom;
    const room = sizeOf(stage);
    const fits = (zoom) => frame.every((side, axis) => side * zoom <= room[axis]);
    return FIRST_ZOOMS.findLast(fits) ?? 1;
  }

  function originOf(port, frame, zoom) {
    const corner = cornerOf(port);
    return sizeOf(port).map((room, axis) => {
      const side = frame[axis] * zoom;
      const centred = room / 2 - state.centre[axis] * zoom;
      const origin =
        side <= room ? (room - side) / 2 : Math.min(0, Math.max(room - side, centred));
      return toScreen(Math.round(origin), corner[axis]);
    });
  }

  function moveTo(centre, frame, zoom) {
    const smallest = sizeOf(find(".pane"));
    state.centre = centre.map((value, axis) => {
      const half = Math.min(frame[axis], smallest[axis] / zoom) / 2;
      return Math.min(frame[axis] - half, Math.max(half, value));
    });
  }

  function cornerOf(element) {
    const box = element.getBoundingClientRect();
    return [box.left + scrollX, box.top + scrollY];
  }

  /* Pixels of images are equal squares only where they begin on pixels of the screen. */
  function toScreen(value, corner) {
    return Math.round((corner + value) * devicePixelRatio) / devicePixelRatio - corner;
  }

  function place() {
    const frame = frameSize();
    if (!frame) return;
    const zoom = zoomNow(frame);
    moveTo(state.centre ?? frame.map((side) => side / 2), frame, zoom);
    for (const port of ports) {
      const origin = originOf(port, frame, zoom);
      for (const img of port.querySelectorAll("img")) {
        const holder = img.parentElement.style;
        [holder.left, holder.top] = origin.map((value) => `${value}px`);
        [holder.width, holder.height] = frame.map((side) => `${side * zoom}px`);
        draw(img, zoom, [0, 0]);
      }
    }
    viewer.classList.toggle("reduced", zoom < 1);
    const level = ZOOMS.indexOf(zoom);
    find(".zoom output").textContent = zoom < 1 ? `1/${1 / zoom}` : `${zoom}×`;
    find(".zoom .out").disabled = level === 0;
    find(".zoom .in").disabled = level === ZOOMS.length - 1;
    placeKernels();
  }

  function draw(img, zoom, [x, y]) {
    const [down, right] = state.aligned ? shifts.get(img) : [0, 0];
    const corner = cornerOf(img.parentElement);
    img.style.width = `${img.naturalWidth * zoom}px`;
    img.style.height = `${img.naturalHeight * zoom}px`;
    const left = toScreen(x - right * zoom, corner[0]);
    const top = toScreen(y - down * zoom, corner[1]);
    img.style.transform = `translate(${left}px, ${top}px)`;
  }

  function placeKernels() {
    const boxes = ["estimated", "true"].map((which) => find(`.kernel.${which}`));
    const imgs = boxes.map((box) => box.querySelector("img"));
    const shown = imgs.filter((img) => !img.hidden && img.naturalWidth);
    const largest = Math.max(...shown.map((img) => Math.max(img.naturalWidth, img.naturalHeight)));
    boxes.forEach((box, index) => {
      const img = imgs[index];
      const known = shown.includes(img);
      box.parentElement.querySelector(".size").textContent = known
        ? `${img.naturalHeight} × ${img.naturalWidth}`
        : "";
      if (!known) return;
      const room = box.clientWidth;
      const zoom = Math.max(1, Math.floor(room / largest));
      const corner = [img.naturalWidth, img.naturalHeight].map((side) => Math.floor((room - side * zoom) / 2));
      draw(img, zoom, corner);
    });
  }

  function zoomBy(steps, port = stage, point = sizeOf(port).map((room) => room / 2)) {
    const frame = frameSize();
    if (!frame) return;
    const before = zoomNow(frame);
    const level = ZOOMS.indexOf(before) + steps;
    if (level < 0 || level >= ZOOMS.length) return;
    const origin = originOf(port, frame, before);
    state.zoom = ZOOMS[level];
    const room = sizeOf(port);
    const centre = point.map(
      (at, axis) => (at - origin[axis]) / before + (room[axis] / 2 - at) / state.zoom);
    moveTo(centre, frame, state.zoom);
    place();
  }

  function moveBy(port, start, pixels) {
    const frame = frameSize();
    if (!frame) return;
    const zoom = zoomNow(frame);
    moveTo(start.map((value, axis) => value - pixels[axis] / zoom), frame, zoom);
    place();
  }

  function centreOf(port) {
    const frame = frameSize();
    if (!frame) return [0, 0];
    const zoom = zoomNow(frame);
    const origin = originOf(port, frame, zoom);
    return sizeOf(port).map((room, axis) => (room / 2 - origin[axis]) / zoom);
  }

  function pointIn(port, event) {
    const box = port.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function wipeTo(percent) {
    const value = Math.min(100, Math.max(0, percent));
    find(".wipe").value = value;
    stage.style.setProperty("--wipe", `${value}%`);
  }

  /* The table. */

  function fillGrid(figure) {
    const { best, show: format } = FIGURES[figure];
    const compared = methods.map((method) => method.kind === "restored");
    rows.forEach((row, index) => {
      const values = images[index].scores.map((score) =>
        score[figure] === null ? NaN : Number(score[figure]));
      const rivals = values.filter((value, method) => compared[method] && !Number.isNaN(value));
      const winner = best === "descending" ? Math.max(...rivals) : Math.min(...rivals);
      values.forEach((value, method) => {
        const cell = row.cells[method + 1];
        const { problem } = images[index].scores[method];
        cell.dataset.value = value;
        cell.textContent = Number.isNaN(value)
          ? problem === "missing" ? "–" : problem ? "failed" : ""
          : Number.isFinite(value) ? format(value) : "∞";
        cell.title = problem ?? "";
        cell.classList.toggle("problem", Number.isNaN(value));
        cell.classList.toggle("best", rivals.length > 1 && compared[method] && value === winner);
      });
    });
    for (const header of grid.tHead.querySelectorAll(".number")) header.dataset.first = best;
    const sorted = grid.tHead.querySelector(".number:not([aria-sort=none])");
    if (sorted) sort(grid, sorted, best);
  }

  function mark() {
    for (const cell of grid.tBodies[0].querySelectorAll("[tabindex='0']")) cell.tabIndex = -1;
    rows.forEach((row, index) => {
      row.classList.toggle("current", index === state.image);
      for (const cell of row.cells) {
        const selected = index === state.image && cell.cellIndex === state.method + 1;
        if (cell.cellIndex) cell.setAttribute("aria-selected", selected);
        if (selected) cell.tabIndex = 0;
      }
    });
  }

  function select(changes) {
    Object.assign(state, changes);
    mark();
    update();
    remember();
    // So that one flips between methods without waiting.
    for (const { picture } of images[state.image].scores) if (picture) new Image().src = picture;
  }

  grid.tBodies[0].addEventListener("focusin", (event) => {
    const cell = event.target.closest("th, td");
    select({
      image: rows.indexOf(cell.parentElement),
      method: cell.cellIndex ? cell.cellIndex - 1 : state.method,
    });
  });

  grid.tBodies[0].addEventListener("keydown", (event) => {
    const cell = event.target.closest("th, td");
    const row = cell.parentElement;
    const column = cell.cellIndex;
    const next = {
      ArrowUp: () => row.previousElementSibling?.cells[column],
      ArrowDown: () => row.nextElementSibling?.cells[column],
      ArrowLeft: () => row.cells[column - 1],
      ArrowRight: () => row.cells[column + 1],
      Home: () => row.parentElement.rows[0].cells[column],
      End: () => row.parentElement.rows[rows.length - 1].cells[column],
    }[event.key];
    if (!next || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    next()?.focus();
  });

  find("select.figure").addEventListener("change", (event) => fillGrid(event.target.value));

  /* The viewer's controls. */

  for (const name of ["image", "method"]) {
    find(`select.${name}`).addEventListener("change", (event) =>
      select({ [name]: Number(event.target.value) }));
  }
  for (const side of ["left", "right"]) {
    find(`select.${side}`).addEventListener("change", (event) =>
      select({ [side]: event.target.value }));
  }
  find(".previous").addEventListener("click", () => select({ image: state.image - 1 }));
  find(".next").addEventListener("click", () => select({ image: state.image + 1 }));
  find(".swap").addEventListener("click", () => select({ left: state.right, right: state.left }));
  find(".zoom .out").addEventListener("click", () => zoomBy(-1));
  find(".zoom .in").addEventListener("click", () => zoomBy(1));
  find(".wipe").addEventListener("input", (event) => wipeTo(event.target.value));
  find(".aligned").addEventListener("change", (event) => {
    state.aligned = event.target.checked;
    place();
  });

  stage.addEventListener("keydown", (event) => {
    const step = sizeOf(stage).map((room) => room / 8);
    const action = {
      "+": () => zoomBy(1),
      "=": () => zoomBy(1),
      "-": () => zoomBy(-1),
      ArrowLeft: () => moveBy(stage, state.centre, [step[0], 0]),
      ArrowRight: () => moveBy(stage, state.centre, [-step[0], 0]),
      ArrowUp: () => moveBy(stage, state.centre, [0, step[1]]),
      ArrowDown: () => moveBy(stage, state.centre, [0, -step[1]]),
    }[event.key];
    if (!action || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    action();
  });

  for (const port of ports) {
    port.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      const wiping = event.target.closest(".divider");
      const begin = pointIn(port, event);
      const centre = centreOf(port);
      const move = (moved) => {
        const point = pointIn(port, moved);
        if (wiping) wipeTo((100 * point[0]) / port.clientWidth);
        else moveBy(port, centre, point.map((value, axis) => value - begin[axis]));
      };
      port.setPointerCapture(event.pointerId);
      port.addEventListener("pointermove", move);
      const end = () => port.removeEventListener("pointermove", move);
      port.addEventListener("lostpointercapture", end, { once: true });
    });
    port.addEventListener("dblclick", (event) => zoomBy(1, port, pointIn(port, event)));
    port.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoomBy(Math.sign(-event.deltaY), port, pointIn(port, event));
    }, { passive: false });
  }

  /* The address keeps what is shown, so that a reloaded page shows it again. */

  function remember() {
    const shown = [
      section.dataset.name, images[state.image].name, methods[state.method].name,
      ...[state.left, state.right].map((what) =>
        panes.includes(what) ? what : `method ${nameOf(what)}`),
    ];
    history.replaceState(null, "", `#${shown.map(encodeURIComponent).join("/")}`);
  }

  function recall() {
    let shown;
    try {
      shown = location.hash.slice(1).split("/").map(decodeURIComponent);
    } catch {
      return;
    }
    const [name, image, method, left, right] = shown;
    if (name !== section.dataset.name) return;
    const side = (what) => {
      if (panes.includes(what)) return what;
      const index = methods.findIndex((each) => `method ${each.name}` === what);
      return index < 0 ? null : `${index}`;
    };
    const index = methods.findIndex((each) => each.name === method);
    if (index >= 0) state.method = index;
    const known = images.findIndex((each) => each.name === image);
    if (known >= 0) state.image = known;
    state.left = side(left) ?? state.left;
    state.right = side(right) ?? state.right;
  }

  addEventListener("hashchange", () => {
    recall();
    mark();
    update();
  });

  state.image = Math.max(0, images.findIndex((image) => image.scores[state.method].picture));
  recall();
  fillGrid(find("select.figure").value || "psnr");
  mark();
  section.addEventListener("load", place, true);
  update();
  new ResizeObserver(place).observe(viewer);
}
