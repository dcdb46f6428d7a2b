// A proxy between client and server that knows HTTP requests and MQTT packets,
// and cuts, hangs or drops where a test says so.
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { patience } from "./server.js";

/**
 * What becomes of a packet or a request.
 *  pass: it goes on its way
 *  drop: it does not, and all else does
 *  cut:  it does not, and the connection ends
 *  half: half of it does, and the connection ends
 *  last: it does, and the connection ends
 *  hang: nothing moves on this connection any more
 */
export type Fate = "pass" | "drop" | "cut" | "half" | "last" | "hang";

/** An MQTT packet on its way. */
export interface Packet {
  up: boolean;
  type: string;
  topic: string;
  text: string;
}

/** A REST request, or the answer to it. */
export interface Call {
  answer: boolean;
  method: string;
  path: string;
}

const names = ["", "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "suback",
  "unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth"];

export class Proxy {
  /** Decides about packets, and about requests. */
  packet: (p: Packet) => Fate = () => "pass";
  call: (c: Call) => Fate | Promise<Fate> = () => "pass";
  /** Changes what is asked for. */
  rewrite: (path: string) => string = (path) => path;
  /** Changes what is answered. */
  body: ((path: string, body: string) => string) | undefined;
  /** MQTT connections that were begun, by the time. */
  readonly connects: number[] = [];
  /** All that passed, for tests that count. */
  readonly seen: Packet[] = [];
  readonly calls: Call[] = [];
  /** That of the newest request. */
  lastToken = "";
  readonly #http: Server;
  readonly #sockets = new Set<Socket>();
  readonly #upgraded = new Set<Socket>();
  readonly #looking = new Set<() => void>();
  /** Refuses connections: the server is out of reach. */
  down = false;

  constructor(private readonly target: { port: number }) {
    this.#http = createServer((q, a) => void this.#rest(q, a));
    this.#http.on("upgrade", (q, socket, head) => this.#upgrade(q, socket as Socket, head));
    this.#http.on("connection", (s) => {
      if (this.down) return void s.destroy();
      this.#keep(s);
    });
    this.#http.keepAliveTimeout = 0;
  }

  static async start(target: { port: number }): Promise<Proxy> {
    const proxy = new Proxy(target);
    await new Promise<void>((resolve) => proxy.#http.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  #keep(s: Socket): void {
    this.#sockets.add(s);
    s.on("error", () => {});
    s.on("close", () => this.#sockets.delete(s));
  }

  /** Cuts all that is open. */
  cut(): void {
    for (const s of this.#sockets) s.destroy();
  }

  /** How many MQTT connections there are. */
  get open(): number {
    return this.#upgraded.size;
  }

  /** Cuts the MQTT connections alone. */
  cutMQTT(): void {
    for (const s of this.#upgraded) s.destroy();
  }

  /** Resolves as soon as the condition holds; looks after every packet, request and end. */
  until(holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the packet does not come")), patience);
      const look = () => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#looking.delete(look);
        resolve();
      };
      this.#looking.add(look);
      look();
    });
  }

  saw(p: Packet): void {
    this.seen.push(p);
    this.#look();
  }

  #look(): void {
    for (const look of [...this.#looking]) look();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  async #rest(q: IncomingMessage, a: ServerResponse): Promise<void> {
    const method = q.method ?? "";
    const path = this.rewrite(q.url ?? "");
    this.lastToken = q.headers.authorization?.replace("Bearer ", "") ?? "";
    this.calls.push({ answer: false, method, path });
    this.#look();
    const fate = await this.call({ answer: false, method, path });
    if (fate === "hang") return;
    if (fate !== "pass") return void q.socket.destroy();
    const up = request({ host: "127.0.0.1", port: this.target.port, method, path, headers: q.headers, agent: false }, (answer) => {
      const parts: Buffer[] = [];
      answer.on("error", () => q.socket.destroy());
      answer.on("data", (d) => parts.push(d));
      answer.on("end", async () => {
        let body = Buffer.concat(parts);
        if (this.body && answer.statusCode === 200) body = Buffer.from(this.body(path, body.toString()));
        const then = await this.call({ answer: true, method, path });
        if (then === "hang") return;
        if (then === "cut" || then === "drop") return void q.socket.destroy();
        const { "transfer-encoding": _, ...headers } = answer.headers;
        const length = answer.statusCode === 204 ? {} : { "content-length": String(body.length) };
        a.writeHead(answer.statusCode!, { ...headers, ...length, connection: "close" });
        if (then !== "half") return void a.end(body);
        a.write(body.subarray(0, body.length >> 1), () => q.socket.destroy());
      });
    });
    up.on("error", () => q.socket.destroy());
    q.on("error", () => up.destroy());
    q.pipe(up);
  }

  #upgrade(q: IncomingMessage, down: Socket, head: Buffer): void {
    this.connects.push(Date.now());
    down.on("error", () => {});
    const up = connect(this.target.port, "127.0.0.1");
    this.#keep(up);
    this.#upgraded.add(up);
    up.on("close", () => {
      this.#upgraded.delete(up);
      this.#look();
    });
    const end = () => {
      up.destroy();
      down.destroy();
    };
    up.on("close", end);
    down.on("close", end);
    // Compressed frames could not be read.
    const lines = Object.entries(q.headers)
      .filter(([key]) => key !== "sec-websocket-extensions")
      .map(([key, value]) => `${key}: ${value}\r\n`);
    up.write(`GET ${q.url} HTTP/1.1\r\n${lines.join("")}\r\n`);
    const pipe = new Pipe(this, up, down, end);
    if (head.length > 0) pipe.fromClient(head);
    down.on("data", (d) => pipe.fromClient(d));
    up.on("data", (d) => pipe.fromServer(d));
  }
}

/** One WebSocket connection. */
class Pipe {
  #hung = false;
  #answered = false;
  #answer = Buffer.alloc(0);
  readonly #up: Frames;
  readonly #down: Frames;

  constructor(
    private readonly proxy: Proxy,
    private readonly server: Socket,
    private readonly client: Socket,
    private readonly end: () => void,
  ) {
    this.#up = new Frames(true, (packet) => this.#take(true, packet), (control) => this.#write(true, control));
    this.#down = new Frames(false, (packet) => this.#take(false, packet), (control) => this.#write(false, control));
  }

  fromClient(d: Buffer): void {
    this.#up.push(d);
  }

  fromServer(d: Buffer): void {
    if (this.#answered) return this.#down.push(d);
    this.#answer = Buffer.concat([this.#answer, d]);
    const at = this.#answer.indexOf("\r\n\r\n");
    if (at < 0) return;
    this.#answered = true;
    this.client.write(this.#answer.subarray(0, at + 4));
    this.#down.push(this.#answer.subarray(at + 4));
  }

  #write(up: boolean, bytes: Buffer): void {
    if (!this.#hung) (up ? this.server : this.client).write(bytes);
  }

  #take(up: boolean, raw: Buffer): void {
    if (this.#hung || this.client.destroyed) return;
    const p = read(up, raw);
    const fate = this.proxy.packet(p);
    this.proxy.saw(p);
    const bytes = frame(raw, up);
    const to = up ? this.server : this.client;
    if (fate === "hang") this.#hung = true;
    else if (fate === "pass") to.write(bytes);
    else if (fate === "cut") this.end();
    else if (fate === "last") to.write(bytes, () => this.end());
    else if (fate === "half") to.write(bytes.subarray(0, bytes.length >> 1), () => this.end());
  }
}

/** What a packet is. */
function read(up: boolean, raw: Buffer): Packet {
  const type = names[raw[0]! >> 4]!;
  let at = 1;
  while (raw[at++]! & 0x80);
  if (type !== "publish") return { up, type, topic: "", text: "" };
  const end = at + 2 + raw.readUInt16BE(at);
  const topic = raw.toString("utf8", at + 2, end);
  at = end + (raw[0]! & 0x06 ? 2 : 0); // the packet identifier
  let properties = 0;
  for (let shift = 0; ; shift += 7) {
    const c = raw[at++]!;
    properties += (c & 0x7f) << shift;
    if (!(c & 0x80)) break;
  }
  return { up, type, topic, text: raw.toString("utf8", at + properties) };
}

/** A WebSocket frame; those of a client are masked. */
function frame(payload: Buffer, masked: boolean): Buffer {
  const n = payload.length;
  const head = n < 126 ? Buffer.from([0x82, n]) : n < 65536 ? Buffer.from([0x82, 126, n >> 8, n & 255]) : Buffer.alloc(10);
  if (n >= 65536) {
    head[0] = 0x82;
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(n), 2);
  }
  if (!masked) return Buffer.concat([head, payload]);
  head[1]! |= 0x80;
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, payload.map((b, i) => b ^ mask[i & 3]!)]);
}

/** Takes WebSocket frames apart into MQTT packets. */
class Frames {
  #bytes = Buffer.alloc(0);
  #mqtt = Buffer.alloc(0);

  constructor(
    private readonly masked: boolean,
    private readonly packet: (raw: Buffer) => void,
    private readonly control: (raw: Buffer) => void,
  ) {}

  push(d: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, d]);
    for (;;) {
      const b = this.#bytes;
      if (b.length < 2) return;
      let n = b[1]! & 0x7f;
      let at = 2;
      if (n === 126) {
        if (b.length < 4) return;
        n = b.readUInt16BE(2);
        at = 4;
      } else if (n === 127) {
        if (b.length < 10) return;
        n = Number(b.readBigUInt64BE(2));
        at = 10;
      }
      const mask = this.masked ? b.subarray(at, (at += 4)) : undefined;
      if (b.length < at + n) return;
      const payload = Buffer.from(b.subarray(at, at + n));
      if (mask) for (let i = 0; i < n; i++) payload[i]! ^= mask[i & 3]!;
      const whole = Buffer.from(b.subarray(0, at + n));
      this.#bytes = b.subarray(at + n);
      if (whole[0]! & 0x08) this.control(whole);
      else this.#split(payload);
    }
  }

  #split(payload: Buffer): void {
    this.#mqtt = Buffer.concat([this.#mqtt, payload]);
    for (;;) {
      const b = this.#mqtt;
      let at = 1;
      let n = 0;
      for (let shift = 0; ; shift += 7) {
        if (at >= b.length) return;
        const c = b[at++]!;
        n += (c & 0x7f) * 2 ** shift;
        if (!(c & 0x80)) break;
      }
      if (b.length < at + n) return;
      this.#mqtt = b.subarray(at + n);
      this.packet(Buffer.from(b.subarray(0, at + n)));
    }
  }
}
