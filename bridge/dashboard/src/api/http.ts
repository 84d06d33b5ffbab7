/** Asking the service. Everything goes to the address that the page came from. */
import type { Problem } from "./messages";
import { isSignedOut, setSignedOut } from "./signedOut";

/** The path that a proxy serves the bridge under; empty at the root of a host. */
export const BASE = typeof document === "undefined" ? "" : readBase();
export const API = `${BASE}/api/v1`;

function readBase(): string {
  const told = document.querySelector<HTMLMetaElement>("meta[name=kfbridge-base]")?.content ?? "";
  // While the pages are being written nobody has put a path in its place.
  return told.startsWith("/") ? told : "";
}

/** An address of the dashboard, for a link that loads the page anew. */
export function inside(path: string): string {
  return BASE + path;
}

/** An answer that is a problem, or no answer at all (`status` 0). */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
    this.name = "ApiError";
  }

  get status(): number {
    return this.problem.status;
  }
}

export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | null | undefined>>;

/** An address below the API, with the parameters that have a value. */
export function address(path: string, query: Query = {}): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null || value === "") continue;
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [String(value)]) found.append(name, one);
  }
  const text = found.toString();
  return `${API}${path}${text ? `?${text}` : ""}`;
}

export async function getJson<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const answer = await ask(address(path, query), { headers: { Accept: "application/json" }, signal: signal ?? null });
  return (await answer.json()) as T;
}

export async function getText(path: string, query: Query = {}, signal?: AbortSignal): Promise<string> {
  const answer = await ask(address(path, query), { signal: signal ?? null });
  return answer.text();
}

/** The beginning of something that may be large. */
export interface Head {
  bytes: Uint8Array;
  /** How much there is in all, if the answer says. */
  total: number | null;
  type: string;
}

/** At most `most` bytes from the beginning of an artifact's content. */
export async function getHead(path: string, most: number, signal?: AbortSignal): Promise<Head> {
  const answer = await ask(address(path, { preview: most }), { signal: signal ?? null });
  const total = answer.headers.get("KFBridge-Content-Size");
  return { bytes: new Uint8Array(await answer.arrayBuffer()), total: total ? Number(total) : null, type: answer.headers.get("Content-Type") ?? "" };
}

/** A part of an artifact's content: the bytes from `start` until before `end`. */
export async function getPart(path: string, start: number, end: number, signal?: AbortSignal): Promise<ArrayBuffer> {
  const answer = await ask(address(path), { headers: { Range: `bytes=${start}-${end - 1}` }, signal: signal ?? null });
  return answer.arrayBuffer();
}

/** A change. The header tells the service that its own page asks: no form of another site can send it. */
export async function postJson<T>(path: string, body: unknown = {}, more: Readonly<Record<string, string>> = {}): Promise<T> {
  const headers = { ...more, Accept: "application/json", "Content-Type": "application/json", "KFBridge-Page": "1" };
  const answer = await ask(address(path), { method: "POST", headers, body: JSON.stringify(body) });
  return (await answer.json()) as T;
}

/** Whether the bridge knows who asks: what was lost is looked for again. */
export async function askWhether(): Promise<boolean> {
  const answer = await fetch(address("/session"), { credentials: "same-origin", headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.status === 401) setSignedOut(true);
  else if (answer?.ok) setSignedOut(false);
  return answer?.ok ?? false;
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  if (isSignedOut()) throw new ApiError(ended());
  let answer: Response;
  try {
    answer = await fetch(url, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(unreachable());
  }
  if (answer.status === 401) setSignedOut(true);
  if (!answer.ok) throw new ApiError(await problemOf(answer));
  return answer;
}

function unreachable(): Problem {
  const detail = "the bridge does not answer; it is asked again by itself";
  return { type: "urn:kfbridge:problem:unreachable", title: "No answer", status: 0, detail, retryable: true };
}

function ended(): Problem {
  const detail = "the session has ended: sign in again";
  return { type: "urn:kfbridge:problem:unauthorized", title: "Not authorized", status: 401, detail, retryable: false };
}

async function problemOf(answer: Response): Promise<Problem> {
  const known = { type: "about:blank", title: answer.statusText, status: answer.status, retryable: answer.status >= 500 };
  try {
    return { ...known, detail: answer.statusText, ...((await answer.json()) as Partial<Problem>) };
  } catch {
    return { ...known, detail: `the bridge answered ${answer.status} without saying why` };
  }
}
