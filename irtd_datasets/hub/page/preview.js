"use strict";
// Filters stand in the address after "#", so that a view can be kept, shared, and opened again:
// #task=grounding&task=location&issue=box-outside-image&q=car&marks=0
(() => {
  const facetNames = ["task", "source", "split", "modality", "issue"];
  const byId = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll(".grid > .card")];
  const facets = [...document.querySelectorAll(".facet")];
  const values = new Map(cards.map((card) => [card, new Map(facetNames.map((name) =>
    [name, new Set((card.dataset[name] || "").split("\n").filter(Boolean))]))]));
  const words = new Map(cards.map((card) => [card, [".text", ".issues", ".corrections", "footer"]
    .map((part) => card.querySelector(part)?.textContent ?? "").join("\n").toLowerCase()]));
  const wanted = new Map(facetNames.map((name) => [name, new Set()]));
  const body = document.body.classList;

  function read() {
    const state = new URLSearchParams(location.hash.slice(1));
    facetNames.forEach((name) => wanted.set(name, new Set(state.getAll(name))));
    byId("search").value = state.get("q") ?? "";
    byId("marks").checked = state.get("marks") !== "0";
    byId("labels").checked = state.get("labels") !== "0";
    for (const [id, first] of [["colour", "label"], ["values", ""], ["size", ""]]) {
      byId(id).value = state.get(id) ?? first;
      if (byId(id).selectedIndex < 0) byId(id).value = first;
    }
    show();
  }

  function write() {
    const state = new URLSearchParams();
    wanted.forEach((chosen, name) => chosen.forEach((value) => state.append(name, value)));
    if (byId("search").value) state.set("q", byId("search").value);
    if (!byId("marks").checked) state.set("marks", "0");
    if (!byId("labels").checked) state.set("labels", "0");
    if (byId("colour").value !== "label") state.set("colour", byId("colour").value);
    for (const id of ["values", "size"]) if (byId(id).value) state.set(id, byId(id).value);
    const text = state.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    show();
  }

  function matches(card, without) {
    const found = values.get(card);
    return facetNames.every((name) => name === without || !wanted.get(name).size ||
      [...wanted.get(name)].some((value) => found.get(name).has(value))) &&
      byId("search").value.toLowerCase().split(/\s+/).every((word) => words.get(card).includes(word));
  }

  function show() {
    body.toggle("no-marks", !byId("marks").checked);
    body.toggle("no-labels", !byId("labels").checked);
    body.toggle("one-colour", byId("colour").value === "one");
    for (const id of ["values", "size"]) {
      for (const option of byId(id).options) if (option.value) body.toggle(`${id}-${option.value}`, option.selected);
    }
    let visible = 0;
    for (const card of cards) {
      card.hidden = !matches(card);
      visible += !card.hidden;
    }
    const reachable = new Map(facetNames.map((name) => {
      const found = new Set();
      for (const card of cards) if (matches(card, name)) values.get(card).get(name).forEach((value) => found.add(value));
      return [name, found];
    }));
    for (const facet of facets) {
      const { facet: name, value } = facet.dataset;
      facet.setAttribute("aria-pressed", wanted.get(name).has(value));
      facet.classList.toggle("none", !reachable.get(name).has(value));
    }
    const filtered = byId("search").value || facetNames.some((name) => wanted.get(name).size);
    byId("status").textContent = filtered
      ? `${visible.toLocaleString("en")} of ${cards.length.toLocaleString("en")} rows of this sample`
      : `${cards.length.toLocaleString("en")} rows in this sample; the numbers beside the filters count all rows`;
    byId("clear").hidden = !filtered;
    byId("empty").hidden = visible > 0;
  }

  for (const facet of facets) {
    facet.addEventListener("click", () => {
      const chosen = wanted.get(facet.dataset.facet);
      if (!chosen.delete(facet.dataset.value)) chosen.add(facet.dataset.value);
      write();
    });
  }
  for (const part of document.querySelectorAll(".part")) {
    part.addEventListener("click", () => {
      const same = ["task", "source"].every((name) => wanted.get(name).size === 1 && wanted.get(name).has(part.dataset[name]));
      for (const name of ["task", "source"]) wanted.set(name, new Set(same ? [] : [part.dataset[name]]));
      write();
    });
  }
  byId("clear").addEventListener("click", () => {
    wanted.forEach((chosen) => chosen.clear());
    byId("search").value = "";
    write();
  });
  for (const id of ["search", "marks", "labels", "colour", "values", "size"]) byId(id).addEventListener("input", write);
  window.addEventListener("hashchange", read);

  // One row, large; arrows go to the next and the last one that the filters leave.
  const big = byId("big");
  let current = null;
  function open(card) {
    current = card;
    byId("stage").replaceChildren(card.cloneNode(true));
    if (!big.open) big.showModal();
  }
  function step(by) {
    const left = cards.filter((card) => !card.hidden);
    const next = left[left.indexOf(current) + by];
    if (next) open(next);
  }
  document.addEventListener("click", (event) => {
    const tab = event.target.closest(".tabs button");
    if (tab) {
      const figure = tab.closest("figure");
      figure.dataset.show = tab.dataset.show;
      for (const one of figure.querySelectorAll(".tabs button")) one.setAttribute("aria-pressed", one === tab);
    } else if (event.target.closest(".grid .frame")) {
      open(event.target.closest(".card"));
    } else if (event.target === big || event.target.closest("#close")) {
      big.close();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (big.open && event.key === "ArrowRight") step(1);
    else if (big.open && event.key === "ArrowLeft") step(-1);
    else if (!big.open && event.key === "Enter" && event.target.classList?.contains("card")) open(event.target);
    else return;
    event.preventDefault();
  });
  read();
})();
