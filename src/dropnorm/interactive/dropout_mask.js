
start("dropout_mask", ({ p, seed }, { data, write, set, draw }) => {
  const { h, masks, left, right, top, bottom, low, high } = data;
  const random = generator(seed);
  const scale = 1 / (1 - p);
  const pass = () => h.map((value) => (random() >= p ? value * scale : null));
  const mask = pass(); // null: dropped
  const one = mask.map((value) => value ?? 0);
  const many = [...one];
  for (let i = 1; i < masks; i++) many.push(...pass().map((value) => value ?? 0));

  const c = mean(h);
  const v = variance(h);
  const rows = {
    mean: [c, mean(one), mean(many), c],
    variance: [v, variance(one), variance(many), (c ** 2 + v) / (1 - p) - c ** 2], // (6)
  };
  for (const [row, values] of Object.entries(rows))
    ["before", "one", "many", "formula"].forEach((name, i) =>
      write(`${row}-${name}`, fixed(values[i], 3)));
  write("p", p);
  write("kept", mask.filter((value) => value !== null).length);
  write("scale", fixed(scale, 2));

  draw("cells", mask.map((value, i) => {
    const x = 10 + 20 * (i % 16);
    const y = 4 + 20 * Math.floor(i / 16);
    const gray = Math.floor(255 - (175 * one[i]) / (one[i] + 2) + 0.5);
    const cell = `<path fill="rgb(${gray},${gray},${gray})" stroke="#999" d="M${x} ${y}h20v20h-20z"/>`;
    return value === null ? `${cell}<path class="strike" d="M${x + 3} ${y + 17}l14-14"/>` : cell;
  }).join(""));
  const at = left + (right - left) * p;
  const height = (ratio) => {
    const inside = Math.min(Math.max(ratio, low), high);
    return bottom - ((bottom - top) * Math.log(inside / low)) / Math.log(high / low);
  };
  set("mean", "cx", at.toFixed(1));
  set("mean", "cy", height(rows.mean[1] / c).toFixed(1));
  set("variance", "d", `M${at.toFixed(1)} ${height(rows.variance[1] / v).toFixed(1)}m-6-6h12v12h-12z`);
});
