/** Hours and money in words. */

/** What is meant by unknown hours. */
export const UNKNOWN_HOURS = "hours of tasks that did not say what they ask for";

/** A number of hours in the digits that matter. */
export function hours(value: number): string {
  if (value > 0 && value < 0.01) return "< 0.01";
  const digits = value >= 100 ? 0 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** An amount with its currency, which may be any word. */
export function money(value: number, currency: string): string {
  if (value > 0 && value < 0.01) return `< 0.01 ${currency}`;
  return `${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })} ${currency}`;
}
