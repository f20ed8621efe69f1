// On paper: light, since a printer leaves out the dark ground, and nothing folded.
"use strict";

let unfolded = [];
let theme;

addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
  unfolded = [...document.querySelectorAll("details:not([open])")];
  unfolded.forEach((each) => (each.open = true));
});
addEventListener("afterprint", () => {
  document.documentElement.dataset.theme = theme;
  unfolded.forEach((each) => (each.open = false));
});
