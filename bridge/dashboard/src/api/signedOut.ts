/** Whether the bridge no longer knows who sits here: the session has ended, and what is shown stays as it was. */
import { useSyncExternalStore } from "react";

let signedOut = false;
const listeners = new Set<() => void>();

export function isSignedOut(): boolean {
  return signedOut;
}

export function setSignedOut(value: boolean): void {
  if (value === signedOut) return;
  signedOut = value;
  listeners.forEach((one) => one());
}

export function onSignedOut(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

export function useSignedOut(): boolean {
  return useSyncExternalStore(onSignedOut, isSignedOut);
}
