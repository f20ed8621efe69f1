// Filters the table of claims (book/_ext/claims.html) by article, kind, verdict and
// words. The choice is kept in the address, so that a filtered table can be linked to.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("claims-filter");
  if (!place) return;
  const rows = [...document.querySelectorAll("table.claims tbody tr")];
  const form = document.createElement("form");
  form.setAttribute("role", "search");
  form.setAttribute("aria-label", "Filter the items");
  const fields = {};

  const add = (name, field) => {
    const label = document.createElement("label");
    label.append(name[0].toUpperCase() + name.slice(1), field);
    form.append(label);
    fields[name] = field;
  };
  for (const name of ["article", "kind", "verdict"]) {
    const select = document.createElement("select");
    select.add(new Option("all", ""));
    for (const value of new Set(rows.map((row) => row.dataset[name]))) {
      select.add(new Option(value));
    }
    add(name, select);
  }
  const words = document.createElement("input");
  words.type = "search";
  add("words", words);
  const count = document.createElement("output");
  form.append(count);
  place.append(form);

  const texts = rows.map((row) => row.textContent.toLowerCase());
  const filter = () => {
    const wanted = fields.words.value.toLowerCase().split(/\s+/);
    let shown = 0;
    rows.forEach((row, i) => {
      const fits = ["article", "kind", "verdict"].every(
        (name) => !fields[name].value || fields[name].value === row.dataset[name],
      );
      row.hidden = !(fits && wanted.every((word) => texts[i].includes(word)));
      shown += !row.hidden;
    });
    count.value = `${shown} of ${rows.length} items`;
  };
  const remember = () => {
    const chosen = Object.entries(fields).filter(([, field]) => field.value);
    const query = new URLSearchParams(chosen.map(([name, { value }]) => [name, value]));
    const address = new URL(location);
    address.search = query;
    address.hash = "";
    history.replaceState(null, "", address);
  };
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (name in fields) fields[name].value = value;
  }
  form.addEventListener("input", () => {
    filter();
    remember();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
});
