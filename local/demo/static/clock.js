// Counts the bearer's life down; without it the page shows the seconds of its loading.
"use strict";
const clocks = document.querySelectorAll(".countdown");
const tick = () => {
  for (const clock of clocks) {
    const left = Math.max(0, Number(clock.dataset.until) - Math.floor(Date.now() / 1000));
    const minutes = Math.floor(left / 60);
    clock.textContent = `${minutes}:${String(left % 60).padStart(2, "0")}`;
  }
};
if (clocks.length) {
  tick();
  setInterval(tick, 1000);
}
