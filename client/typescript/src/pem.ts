/** PEM (RFC 7468). */
import { LocalError } from "./errors.js";

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----/g;

/** The blocks of a kind, such as `CERTIFICATE`, in DER. Raises `LocalError` where there is none. */
export function blocks(text: string, kind: RegExp): Uint8Array[] {
  const found = [...text.matchAll(BLOCK)].filter(([, name]) => kind.test(name!));
  if (found.length === 0) throw new LocalError(`there is no ${kind.source} in the PEM text`);
  return found.map(([, , body]) => {
    try {
      return Uint8Array.from(atob(body!.replace(/\s/g, "")), (letter) => letter.charCodeAt(0));
    } catch {
      throw new LocalError(`a ${kind.source} in the PEM text is damaged`);
    }
  });
}
