
start("learning_rates", ({ rate, arms }, { data, write, set, draw }) => {
  const { rates, looks, runs, first, last, left, right, top, bottom } = data;
  const place = (step, error) => {
    const x = left + ((right - left) * Math.log(step / first)) / Math.log(last / first);
    return `${x.toFixed(1)},${(bottom - ((bottom - top) * error) / 100).toFixed(1)}`;
  };
  const median = (values) => {
    const sorted = [...values].sort((a, b) => a - b);
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };
  let seeds = "";
  for (const arm of ["one", "two"]) {
    const { steps, errors } = runs[arm][rates.indexOf(rate)];
    const middle = steps.map((_, at) => median(errors.map((seed) => seed[at])));
    const visible = arms === "both" || arms === arm;
    const line = (values) => steps.map((step, at) => place(step, values[at])).join(" ");
    if (visible)
      seeds += errors.map((seed) => `<polyline class="thin ${arm}" points="${line(seed)}"/>`).join("");
    set(`median-${arm}`, "points", visible ? line(middle) : "");
    for (const step of looks) {
      const at = steps.indexOf(step);
      write(`${arm}-${step}`, at < 0 ? "-" : fixed(middle[at], 1));
    }
    write(`${arm}-end`, steps.at(-1));
    write(`${arm}-last`, fixed(middle.at(-1), 1));
  }
  draw("seeds", seeds);
  write("rate", rate);
});
