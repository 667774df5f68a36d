"use strict";
// The slider shows each run's newest samples of a step, and a line with the values in every chart.
(() => {
  const SVG = "http://www.w3.org/2000/svg"; // a name, which is not fetched
  const grouped = (x) => x.toLocaleString("en-US");
  const short = (x) => {
    const rounded = Number(x.toPrecision(4));
    const size = Math.abs(rounded);
    return size >= 1e4 && size < 1e15 ? grouped(Math.round(rounded)) : String(rounded);
  };
  // The last entry that is not behind the step, or the first.
  const until = (steps, step) => {
    let low = 0;
    let high = steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= step) low = middle + 1;
      else high = middle;
    }
    return Math.max(low - 1, 0);
  };
  const nearest = (steps, step) => {
    const before = until(steps, step);
    const after = Math.min(before + 1, steps.length - 1);
    return Math.abs(steps[after] - step) < Math.abs(steps[before] - step) ? after : before;
  };

  const charts = [...document.querySelectorAll(".chart")].map((figure) => {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const svg = figure.querySelector("svg");
    const cursor = document.createElementNS(SVG, "line");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y1", data.top);
    cursor.setAttribute("y2", data.bottom);
    svg.append(cursor);
    const values = [...figure.querySelectorAll("[data-value]")];
    const show = (step) => {
      const along = (step - data.first) / (data.last - data.first);
      const x = data.left + Math.min(Math.max(along, 0), 1) * (data.right - data.left);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      data.lines.forEach((line, i) => {
        values[i].textContent = short(line.values[nearest(line.steps, step)]);
      });
    };
    const under = (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const along = (x - data.left) / (data.right - data.left);
      return data.first + Math.min(Math.max(along, 0), 1) * (data.last - data.first);
    };
    return { svg, show, under };
  });

  const slider = document.getElementById("slider");
  if (!slider) return;
  for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
  const positions = JSON.parse(document.getElementById("positions").textContent);
  const at = document.getElementById("at");
  const strips = [...document.querySelectorAll(".frames")].map((figure) => {
    const images = [...figure.querySelectorAll("img[data-step]")];
    return { images, steps: images.map((image) => Number(image.dataset.step)), shown: figure.querySelector("[data-shown]") };
  });
  const current = () => positions[Number(slider.value)];
  const point = (step) => charts.forEach((chart) => chart.show(step));
  const move = () => {
    const step = current();
    for (const { images, steps, shown } of strips) {
      if (!images.length) continue;
      const index = until(steps, step);
      images.forEach((image, i) => { image.hidden = i !== index; });
      shown.textContent = grouped(steps[index]);
    }
    at.textContent = grouped(step);
    slider.setAttribute("aria-valuetext", `step ${grouped(step)}`);
    point(step);
  };
  slider.addEventListener("input", move);
  for (const { svg, under } of charts) {
    svg.addEventListener("pointermove", (event) => point(under(event)));
    svg.addEventListener("pointerleave", () => point(current()));
  }

  const play = document.getElementById("play");
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "▶";
    play.setAttribute("aria-label", "Play the training");
  };
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) === positions.length - 1) slider.value = 0;
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "Pause");
    move();
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      move();
      if (Number(slider.value) === positions.length - 1) stop();
    }, 300);
  });
  slider.addEventListener("pointerdown", stop);
  move();
})();
