"use strict";
(() => {
  const list = document.getElementById("cards");
  const sorter = document.getElementById("sorter");
  if (!list || !sorter) return;
  const status = document.getElementById("sorted");
  const more = document.getElementById("more");
  const cards = [...list.children];
  const step = window.matchMedia("(max-width: 34rem)").matches ? 8 : 24;
  let shown = step;
  let order = "";

  const known = (card, key) => card.dataset[key] !== undefined;

  function show(label) {
    const listed = cards.filter((card) => known(card, order));
    listed.sort((a, b) => Number(b.dataset[order]) - Number(a.dataset[order]));
    cards.forEach((card) => { card.hidden = true; });
    listed.forEach((card, place) => { card.hidden = place >= shown; list.append(card); });
    const visible = Math.min(shown, listed.length);
    more.hidden = visible >= listed.length;
    status.textContent = `${label}: ${visible} of ${listed.length} images shown.`;
  }

  const inputs = [...sorter.querySelectorAll("input")];
  const labelOf = (input) => input.parentElement.textContent.trim();
  inputs.forEach((input) => {
    input.disabled = !cards.some((card) => known(card, input.value));
    input.addEventListener("change", () => {
      order = input.value;
      shown = step;
      show(labelOf(input));
    });
  });
  more.addEventListener("click", () => {
    const first = shown;
    shown += step;
    show(labelOf(inputs.find((input) => input.checked)));
    const next = list.querySelectorAll("li:not([hidden])")[first];
    if (next) { next.tabIndex = -1; next.focus(); }
  });
  const start = inputs.find((input) => !input.disabled);
  if (!start) return;
  sorter.hidden = false;
  start.checked = true;
  order = start.value;
  show(labelOf(start));
})();
