// Numbers and times as people read them.

const UNITS = ["", "k", "M", "G", "T"];

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function scaled(value) {
  let at = 0;
  while (value >= 999.5 && at < UNITS.length - 1) {
    value /= 1000;
    at += 1;
  }
  return [value >= 100 || (at === 0 && Number.isInteger(value)) ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2), UNITS[at]];
}

export function octets(value) {
  const [number, unit] = scaled(value);
  return `${number} ${unit}B`;
}

/** `value`: octets per second. */
export function rate(value) {
  if (value === undefined) return "–";
  const [number, unit] = scaled(value * 8);
  return `${number} ${unit}bit/s`;
}

export function packets(value) {
  return value.toLocaleString("en");
}

export function ago(since, now = Date.now() / 1000) {
  const seconds = Math.max(0, Math.round(now - since));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function bare(address) {
  return address.split("/")[0];
}
