
start("variance_shift", ({ p, ratio, seed }, { data, write, set }) => {
  const { sample, left, right, top, bottom } = data;
  const random = generator(seed);
  const x = normals(random, sample).map((value) => ratio + value);
  const u = Array.from({ length: sample }, random);
  const masked = (p) => variance(x.map((value, i) => (u[i] >= p ? value / (1 - p) : 0)));
  const formula = (p) => (1 - p) / (1 + p * ratio ** 2); // (2)
  const evaluation = variance(x);
  const training = masked(p);

  write("evaluation-formula", "1.000");
  write("evaluation-simulation", fixed(evaluation, 3));
  write("training-formula", fixed(1 / formula(p), 3));
  write("training-simulation", fixed(training, 3));
  write("delta-formula", fixed(formula(p), 3));
  write("delta-simulation", fixed(evaluation / training, 3));
  write("p", p);
  write("ratio", ratio);

  const across = (p) => left + (right - left) * p;
  const up = (delta) => bottom - (bottom - top) * delta;
  const place = (p, delta, dx = 0) => `${(across(p) - dx).toFixed(1)} ${(up(delta) - dx).toFixed(1)}`;
  const rates = Array.from({ length: 101 }, (_, i) => i / 100);
  set("curve", "points", rates.map((p) => place(p, formula(p))).join(" "));
  const tenths = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => i / 10);
  set("crosses", "d", tenths.map((p) => `M${place(p, evaluation / masked(p), 5)}l10 10m0-10l-10 10`).join(""));
  set("here", "cx", across(p).toFixed(1));
  set("here", "cy", up(formula(p)).toFixed(1));
});
