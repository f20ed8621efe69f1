
start("batch_norm", ({ mode, m, gamma, beta, eps, seed }, { data, write, set, draw }) => {
  const others = normals(generator(seed), data.most - 1).map((z) => data.mean + data.sd * z);
  const x = [data.first, ...others].slice(0, m);
  const training = mode === "training";
  const mu = training ? mean(x) : data.mean; // (1), or the running mean
  const used = training ? variance(x) : data.sd ** 2; // (2), or the running variance
  const hat = x.map((value) => (value - mu) / Math.sqrt(used + eps)); // (3), (7)
  const y = hat.map((value) => gamma * value + beta); // (4)

  const rows = { x: [mean(x), variance(x)], used: [mu, used], y: [mean(y), variance(y)] };
  for (const [name, [center, spread]] of Object.entries(rows)) {
    write(`${name}-mean`, fixed(center, 3));
    write(`${name}-variance`, fixed(spread, 3));
  }
  write("first-hat", fixed(hat[0], 3));
  write("first-y", fixed(y[0], 3));

  const across = (value, low) => (10 + 16 * (Math.min(Math.max(value, low), low + 20) - low)).toFixed(1);
  const line = (i) => `M${across(x[i], -6)} 58L${across(y[i], -10)} 178`;
  const later = [...x.keys()].slice(1);
  set("lines", "d", later.map(line).join(""));
  set("first", "d", line(0));
  const dot = (value, low, at) => `<circle class="dot" r="5" cx="${across(value, low)}" cy="${at}"/>`;
  draw("dots", later.map((i) => dot(x[i], -6, 58) + dot(y[i], -10, 178)).join(""));
  const square = (value, low, at) => `M${across(value, low)} ${at}m-6-6h12v12h-12z`;
  set("squares", "d", square(x[0], -6, 58) + square(y[0], -10, 178));
  const bar = ([center, spread], low, at) => {
    const sd = Math.sqrt(spread);
    return `M${across(center - sd, low)} ${at}H${across(center + sd, low)}M${across(center, low)} ${at - 6}v12`;
  };
  set("spread", "d", bar(rows.x, -6, 78) + bar(rows.y, -10, 158));
});
