"use strict";

{
  const stage = document.querySelector(".stage");
  const wipe = document.querySelector(".wipe");
  const spot = document.querySelector(".spot");
  const panes = document.querySelector(".panes");
  const where = document.querySelector(".where");
  const images = ["before", "after"].map((which) => stage.querySelector(`img.${which}`));
  const canvases = ["before", "after"].map((which) => panes.querySelector(`canvas.${which}`));
  // Not as they are laid out, nor as they are once they have loaded.
  const size = ["width", "height"].map((name) => Number(images[0].getAttribute(name)));
  const key = `seen ${location.pathname}`;
  let centre = size.map((side) => side / 2);

  /* Before and after. */

  function wipeTo(percent) {
    wipe.value = percent;
    stage.style.setProperty("--cut", `${wipe.value}%`);
  }

  wipe.addEventListener("input", () => wipeTo(wipe.value));

  function shareOf(element, event) {
    const box = element.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  function follow(element, event, move) {
    const end = () => element.removeEventListener("pointermove", move);
    element.setPointerCapture(event.pointerId);
    element.addEventListener("pointermove", move);
    element.addEventListener("lostpointercapture", end, { once: true });
  }

  const divider = stage.querySelector(".divider");
  divider.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.stopPropagation();
    follow(divider, event, (moved) => wipeTo(100 * shareOf(stage, moved)[0]));
  });

  /* The magnifier: one pixel of the image is a whole number of the screen's. */

  const zoom = () => Math.max(1, Math.round(devicePixelRatio));

  function shown(canvas) {
    return [canvas.width / zoom(), canvas.height / zoom()];
  }

  function moveTo(point) {
    const visible = shown(canvases[0]);
    centre = point.map((value, axis) => {
      const half = Math.min(size[axis], visible[axis]) / 2;
      return Math.min(size[axis] - half, Math.max(half, value));
    });
    draw();
  }

  function draw() {
    const visible = shown(canvases[0]);
    const corner = centre.map((value, axis) => Math.round(value - visible[axis] / 2));
    canvases.forEach((canvas, index) => {
      if (!images[index].complete) return;
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingEnabled = false;
      const sides = size.map((side) => side * zoom());
      context.drawImage(images[index], ...corner.map((value) => -value * zoom()), ...sides);
    });
    const begin = corner.map((value) => Math.max(0, value));
    const end = corner.map((value, axis) => Math.min(size[axis], value + visible[axis]));
    const percent = (value, axis) => `${(100 * value) / size[axis]}%`;
    spot.style.left = percent((begin[0] + end[0]) / 2, 0);
    spot.style.top = percent((begin[1] + end[1]) / 2, 1);
    spot.style.width = percent(end[0] - begin[0], 0);
    spot.style.height = percent(end[1] - begin[1], 1);
    spot.hidden = begin.every((value, axis) => value === 0 && end[axis] === size[axis]);
    where.value = `Around ${centre.map(Math.round).join(", ")}`;
  }

  function resize() {
    for (const canvas of canvases) {
      canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
      canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    }
    moveTo(centre);
  }

  function point(event) {
    moveTo(shareOf(stage, event).map((share, axis) => share * size[axis]));
  }

  stage.addEventListener("pointerdown", point);
  stage.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) point(event);
  });

  for (const canvas of canvases) {
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      const begin = [event.clientX, event.clientY];
      const start = centre;
      follow(canvas, event, (moved) => {
        const scale = devicePixelRatio / zoom();
        const now = [moved.clientX, moved.clientY];
        moveTo(start.map((value, axis) => value - (now[axis] - begin[axis]) * scale));
      });
    });
  }

  panes.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : 16;
    const by = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    }[event.key];
    if (!by || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    moveTo(centre.map((value, axis) => value + by[axis]));
  });

  /* A page that reloads itself shows the same again. */

  addEventListener("pagehide", () => {
    try {
      sessionStorage.setItem(key, JSON.stringify([Number(wipe.value), centre]));
    } catch {} // where pages from the disk may store nothing
  });

  try {
    const seen = JSON.parse(sessionStorage.getItem(key));
    if (seen) [, centre] = seen;
    wipeTo(seen ? seen[0] : 50);
  } catch {
    wipeTo(50);
  }
  for (const image of images) image.addEventListener("load", draw);
  new ResizeObserver(resize).observe(panes);
}
