"use strict";
(() => {
  const box = document.querySelector(".filter");
  const input = box.querySelector("input");
  const found = box.querySelector("output");
  const things = [...document.querySelectorAll(".findings tbody tr, .matrix tbody tr, figure, ul.plain li")];
  const words = new Map(things.map((thing) => [thing, thing.textContent.toLowerCase()]));
  const places = [...document.querySelectorAll(".part")];
  const apply = () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const thing of things) {
      const text = words.get(thing);
      thing.hidden = !wanted.every((word) => text.includes(word));
      shown += thing.hidden ? 0 : 1;
    }
    for (const place of places) {
      place.hidden = wanted.length > 0 && !things.some((thing) => !thing.hidden && place.contains(thing));
    }
    found.textContent = wanted.length ? `${shown} of ${things.length}` : "";
  };
  box.hidden = false;
  input.addEventListener("input", apply);
})();
