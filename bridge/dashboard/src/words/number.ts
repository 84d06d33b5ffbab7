/** A number to six significant digits; whole numbers with all of theirs, in groups. */
export function number(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en");
  return Number.parseFloat(value.toPrecision(6)).toString();
}

/** The same in the few digits that a table has room for. */
export function shortNumber(value: number): string {
  if (Number.isInteger(value)) return number(value);
  const size = Math.abs(value);
  return size >= 1000 || size < 0.001 ? value.toPrecision(4) : Number.parseFloat(value.toFixed(4)).toString();
}

export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value > 0 ? Math.min(Math.floor(Math.log(value) / Math.log(1024)), units.length - 1) : 0;
  const amount = value / 1024 ** power;
  return `${power === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[power] ?? "B"}`;
}
