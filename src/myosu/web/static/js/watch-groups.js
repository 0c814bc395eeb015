// Groups of runs that differ only in their seed, drawn as a mean and a band; and the settings that differ between runs.

const POINTS = 200;

const but = (settings, ...names) => JSON.stringify(Object.entries(settings).filter(([name]) => !names.includes(name)));

// Lists of runs with equal settings, in the order of their first runs.
export function groupsOf(runs) {
  const groups = new Map();
  for (const run of runs) {
    const key = but(run.settings, 'seed');
    groups.set(key, [...groups.get(key) ?? [], run]);
  }
  return [...groups.values()];
}

// [name, values of the runs] for each setting whose values are not all equal.
export function differences(runs) {
  const names = [...new Set(runs.flatMap(run => Object.keys(run.settings)))];
  return names.map(name => [name, runs.map(run => run.settings[name] ?? '')]).filter(([, values]) => new Set(values).size > 1);
}

// One run in place of a group: at each point the mean of the runs, with their minimum and maximum as a band.
export function merge(runs) {
  if (runs.length === 1) return runs[0];
  const together = what => {
    const [mean, low, high] = [{}, {}, {}];
    for (const name of Object.keys(runs[0][what])) {
      const curves = runs.map(run => run[what][name]).filter(points => points?.length);
      if (curves.length < runs.length) continue;
      [mean[name], low[name], high[name]] = spread(curves);
    }
    return { mean, low, high };
  };
  const { mean, low, high } = together('curves');
  const smooth = together('smoothed');
  return { ...runs[0], name: `${runs[0].name} and ${runs.length - 1} more seed${runs.length > 2 ? 's' : ''}`, findings: [],
    curves: mean, smoothed: smooth.mean, spread: { low: { ...low, ...smooth.low }, high: { ...high, ...smooth.high } } };
}

// Mean, minimum and maximum over the range that all curves cover.
function spread(curves) {
  const start = Math.max(...curves.map(points => points[0][0]));
  const end = Math.min(...curves.map(points => points.at(-1)[0]));
  const count = end > start ? Math.min(POINTS, Math.max(...curves.map(points => points.length))) : 1;
  const [mean, low, high] = [[], [], []];
  for (let k = 0; k < count; k++) {
    const x = count > 1 ? start + (end - start) * k / (count - 1) : end;
    const values = curves.map(points => valueAt(points, x));
    mean.push([x, values.reduce((a, b) => a + b) / values.length]);
    low.push([x, Math.min(...values)]);
    high.push([x, Math.max(...values)]);
  }
  return [mean, low, high];
}

// The value at x, linearly interpolated.
function valueAt(points, x) {
  const after = points.findIndex(point => point[0] >= x);
  if (after <= 0) return points.at(after)[1];
  const [[x0, y0], [x1, y1]] = [points[after - 1], points[after]];
  return x1 > x0 ? y0 + (y1 - y0) * (x - x0) / (x1 - x0) : y1;
}
