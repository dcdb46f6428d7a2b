// Where in the app one is, as the hash of the address: "#/c/<conversation>/<seq>".
// The server needs to know nothing of it.

export interface Route {
  conversation?: string;
  seq?: number;
}

export function parse(hash: string): Route {
  const m = /^#\/c\/([A-Za-z0-9_.@:%-]+)(?:\/([0-9]+))?$/.exec(hash);
  if (!m) return {};
  let conversation: string;
  try {
    conversation = decodeURIComponent(m[1]!);
  } catch {
    return {};
  }
  return m[2] ? { conversation, seq: Number(m[2]) } : { conversation };
}

export function hashOf(conversation?: string, seq?: number): string {
  if (!conversation) return "#/";
  return `#/c/${encodeURIComponent(conversation)}${seq ? `/${seq}` : ""}`;
}
