// The page reads the same without this: it only follows the pointer and writes each version's figures beside its name.
for (const section of document.querySelectorAll("section[data-course]")) {
  const course = JSON.parse(document.getElementById(section.dataset.course).textContent);
  const plots = [...section.querySelectorAll("figure > svg")];
  const width = course.width, left = course.left, right = course.right;
  const time = section.querySelector(".time");
  const format = (value, unit) => value === null || value === undefined ? null : `${+value.toPrecision(3)}${unit}`;

  const show = (at) => {
    const place = course.at.reduce((best, t, i) => Math.abs(t - at) < Math.abs(course.at[best] - at) ? i : best, 0);
    const x = left + (course.at[place] - course.start) / (course.end - course.start) * (width - left - right);
    for (const line of section.querySelectorAll(".cursor")) {
      line.removeAttribute("hidden");
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
    time.textContent = new Date(course.at[place] * 1000).toISOString().slice(11, 19) + " UTC";
    for (const output of section.querySelectorAll("output")) {
      const seen = course.versions[output.dataset.revision][place];
      const parts = seen && [format(seen[0], " %"), format(seen[1], "/s"), format(seen[2], " ms p99"), seen[3] ? `${seen[3]} errors` : null];
      output.textContent = parts ? parts.filter(Boolean).join(" · ") : "";
    }
  };
  const hide = () => {
    for (const line of section.querySelectorAll(".cursor")) line.setAttribute("hidden", "");
    for (const output of section.querySelectorAll("output")) output.textContent = "";
    time.textContent = "";
  };
  for (const plot of plots) {
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const part = ((event.clientX - box.left) / box.width * width - left) / (width - left - right);
      show(course.start + Math.min(1, Math.max(0, part)) * (course.end - course.start));
    });
    plot.addEventListener("pointerleave", hide);
  }
}
