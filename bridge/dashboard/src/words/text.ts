/** Words for what the API tells in its own. */

// Characters that turn the reading direction around: in a name they only serve to show another one.
const TURNING = /[\u202A-\u202E\u2066-\u2069]/g;

/** Text that others wrote, without characters that turn its direction. */
export function plain(text: string): string {
  return text.replace(TURNING, "\uFFFD");
}

/** A state as a reader's word: `SUCCEEDED` is Succeeded. */
export function stateWord(state: string): string {
  const word = state.replace("RUNTIME_STATE_", "").toLowerCase();
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** A snake_case word of the API as people write it: `out_of_memory` is out of memory. */
export function spaced(word: string): string {
  return word.replaceAll("_", " ");
}

/** A sentence begins with a capital. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A type of artifact without the name of its schema. */
export function shortType(type: string): string {
  return type.replace("system.", "");
}

/** A value as it is shown: text as it is, anything else as JSON. */
export function shown(value: unknown): string {
  return plain(typeof value === "string" ? value : JSON.stringify(value, null, 1));
}

/** How many, with the right form of the noun. */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;
}
