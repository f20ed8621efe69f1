"use strict";

// Random numbers in [0, 1), the same for the same seed: mulberry32, as in arithmetic.py.
function generator(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 1831565813) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// n numbers from the standard normal distribution (Box and Muller).
function normals(random, n) {
  return Array.from({ length: n }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return radius * Math.cos(2 * Math.PI * random());
  });
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function variance(values) {
  const center = mean(values);
  return mean(values.map((value) => (value - center) ** 2));
}

const fixed = (value, digits) => value.toFixed(digits).replace(/^-(?=0*\.?0*$)/, "");

// Put the drawing in place of its image, where it can be changed.
function insertPicture(image) {
  const bytes = atob(image.getAttribute("src").split(",")[1]);
  const svg = new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));
  const picture = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", image.alt);
  image.replaceWith(picture);
}

function insertControls(script) {
  script.insertAdjacentHTML("afterend", script.textContent);
  const settings = script.nextElementSibling;
  script.remove();
  for (const control of settings.querySelectorAll("[data-control]"))
    control.dataset.lmSuppressShortcuts = "true"; // else JupyterLab keeps the arrow keys
  return settings;
}

// Start the figures of this name that are not running yet. `redraw` gets the data, the
// values of the controls, and functions that write numbers, attributes and drawings.
function start(name, redraw) {
  const waiting = `figure[data-figure="${name}"]:not([data-running])`;
  for (const figure of document.querySelectorAll(waiting)) {
    figure.dataset.running = "";
    const data = JSON.parse(figure.dataset.data);
    const part = (key) => figure.querySelector(`[data-part="${key}"]`);
    const page = {
      data,
      write: (key, text) => figure.querySelectorAll(`[data-number="${key}"]`)
        .forEach((place) => (place.textContent = text)),
      set: (key, attribute, value) => part(key).setAttribute(attribute, value),
      draw: (key, svg) => (part(key).innerHTML = svg),
      control: (key) => figure.querySelector(`[data-control="${key}"]`),
    };
    insertPicture(figure.querySelector("img"));
    const settings = insertControls(figure.querySelector('[type="text/html"]'));
    const update = () => {
      const values = {};
      for (const control of settings.querySelectorAll("[data-control]")) {
        const list = control.dataset.values && JSON.parse(control.dataset.values);
        const number = Number(control.value);
        const value = list ? list[number] : Number.isNaN(number) ? control.value : number;
        values[control.dataset.control] = value;
        const place = control.localName === "button" ? control : control.parentElement;
        const shown = place.querySelector(".shown");
        if (shown) shown.textContent = String(value);
        if (list) control.setAttribute("aria-valuetext", String(value));
      }
      redraw(values, page);
    };
    settings.addEventListener("input", update);
    settings.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      button.value = Number(button.value) + 1;
      update();
    });
    figure.querySelector(".still").hidden = true;
    update();
  }
}
