
start("convolution", ({ kernel, digit, stride, padding, place }, page) => {
  const { data, write, set, draw, control } = page;
  const { rows, divisor } = data.kernels[kernel];
  const k = rows.length;
  const side = 8;
  const wide = side + 2 * padding;
  const pixel = (a, b) => {
    const inside = [a, b].every((at) => at >= padding && at < padding + side);
    return inside ? data.images[digit][(a - padding) * side + b - padding] : 0;
  };
  const size = Math.floor((side + 2 * padding - k) / stride) + 1; // (3)
  const range = (n) => [...Array(n).keys()];
  const pairs = (n) => range(n * n).map((at) => [Math.floor(at / n), at % n]);
  const output = pairs(size).map(([i, j]) =>
    pairs(k).reduce((sum, [u, v]) => sum + rows[u][v] * pixel(stride * i + u, stride * j + v), 0)
      / divisor); // (1), in steps of the stride

  const slider = control("place");
  slider.max = size * size - 1; // the browser moves the value if it is beyond
  const now = Math.min(place, size * size - 1);
  slider.parentElement.querySelector(".shown").textContent = now;
  const [i, j] = [Math.floor(now / size), now % size];
  const terms = pairs(k).filter(([u, v]) => rows[u][v] !== 0).map(([u, v]) =>
    `${rows[u][v]}·${pixel(stride * i + u, stride * j + v)}`.replace("-", "−")).join(" + ");
  const seen = (at) => range(size).some((i) => at >= stride * i && at < stride * i + k);
  const unseen = pairs(wide).filter(([a, b]) => !(seen(a) && seen(b)));
  write("formula", `⌊(${side} + 2·${padding} − ${k}) / ${stride}⌋ + 1`);
  write("size", size);
  write("unseen", unseen.filter(([a, b]) =>
    [a, b].every((at) => at >= padding && at < padding + side)).length);
  write("row", i);
  write("column", j);
  write("sum", divisor > 1 ? `(${terms}) / ${divisor}` : terms);
  write("value", fixed(output[now], 2));

  const [cell, top, left, right] = [156 / wide, 26, 4, 180];
  const to = (...numbers) => numbers.map((n) => n.toFixed(1)).join(" ");
  const box = (x, a, b, n) => {
    const long = to(cell * n);
    return `M${to(x + cell * b, top + cell * a)}h${long}v${long}h-${long}z`;
  };
  const square = (x, a, b, share) => {
    const gray = Math.floor(255 - 120 * share + 0.5);
    return `<path fill="rgb(${gray},${gray},${gray})" stroke="#aaa" d="${box(x, a, b, 1)}"/>`;
  };
  const most = Math.max(...output.map(Math.abs)) || 1;
  draw("image", pairs(wide).map(([a, b]) => square(left, a, b, pixel(a, b) / 16)).join(""));
  draw("output", output.map((value, at) =>
    square(right, Math.floor(at / size), at % size, Math.abs(value) / most)).join(""));
  set("minus", "d", output.map((value, at) => value < 0
    ? `M${to(right + cell * (at % size + 0.5) - 3, top + cell * (Math.floor(at / size) + 0.5))}h6` : "").join(""));
  set("unseen", "d", unseen.map(([a, b]) =>
    `M${to(left + cell * b + 2, top + cell * (a + 1) - 2)}l${to(cell - 4)}-${to(cell - 4)}`).join(""));
  set("border", "d", box(left, padding, padding, side));
  set("window", "d", box(left, stride * i, stride * j, k) + box(right, i, j, 1));
});
