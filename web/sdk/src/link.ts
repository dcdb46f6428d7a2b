import mqtt, { type MqttClient } from "mqtt";
import { ParleyError, codeOf } from "./errors.js";
import { deferred, type Deferred } from "./timers.js";
import type { Problem } from "./types.js";

/** Why a connection ended, or could not be made. `reason` is MQTT's, 0 where there was none. */
export class Lost extends ParleyError {
  constructor(
    readonly reason: number,
    message: string,
  ) {
    super(codeOf(reason), message);
  }
}

/** The server refused one publish or subscription; the connection lives on. */
export class Refused extends ParleyError {
  constructor(
    readonly reason: number,
    message: string,
    code = codeOf(reason),
  ) {
    super(code, message);
  }
}

export interface LinkOptions {
  url: string;
  clientId: string;
  userId: string;
  token: string;
  timeout: number;
  /** Ends the attempt. A connection that stands is ended by end(). */
  closing: AbortSignal;
  onMessage(topic: string, text: string): void;
}

/** What the server says with an acknowledgement. */
export type Props = Record<string, string | string[]>;

/**
 * One MQTT connection, from CONNECT to its end. It never comes back: MQTT.js
 * is kept from reconnecting and from sending again, which is decided above.
 * Whatever is waited for is answered, refused, or lost with the connection:
 * what the server does not answer in time ends it.
 */
export class Link {
  /** Settled once, when the connection has ended. */
  readonly closed: Promise<Lost>;
  readonly #closed = deferred<Lost>();
  readonly #client: MqttClient;
  readonly #acks = new Map<number, Props>();
  /** Topics that are published to now, and what the server has against it. */
  readonly #asked = new Map<string, Problem | undefined>();
  readonly #waiting = new Set<(why: Lost) => void>();
  #why: Lost | undefined;
  #alive = true;
  #heard = 0;
  #mostBytes = Infinity;
  #beat: ReturnType<typeof setInterval> | undefined;
  #check: ReturnType<typeof setTimeout> | undefined;

  /** Connects; resolves when the server has accepted. */
  static async open(o: LinkOptions): Promise<Link> {
    const link = new Link(o);
    const stop = () => link.lose(new Lost(0, "the client is closed"));
    o.closing.addEventListener("abort", stop);
    try {
      await link.#wait<void>((done) =>
        link.#client.once("connect", (packet) => {
          link.#mostBytes = packet.properties?.maximumPacketSize ?? Infinity;
          done.resolve();
        }),
      );
    } finally {
      o.closing.removeEventListener("abort", stop);
    }
    link.#startBeat();
    return link;
  }

  private constructor(private readonly o: LinkOptions) {
    this.closed = this.#closed.promise;
    const client = (this.#client = mqtt.connect(o.url, {
      protocolVersion: 5,
      clientId: o.clientId,
      username: o.userId,
      password: o.token,
      clean: true,
      reconnectPeriod: 0,
      resubscribe: false,
      // Browsers slow timers of hidden pages down to one a minute: the server
      // is patient, and #beat finds a dead link sooner where it can.
      keepalive: 180,
      timerVariant: "native", // else a worker from a blob, which a content security policy may forbid
      connectTimeout: 2 * o.timeout, // #wait is earlier
    }));
    client.on("packetreceive", (packet) => {
      this.#heard++;
      if (packet.cmd === "puback" && packet.messageId !== undefined) {
        this.#acks.set(packet.messageId, (packet.properties?.userProperties ?? {}) as Props);
      }
    });
    client.on("message", (topic, payload) => {
      const text = new TextDecoder().decode(payload);
      if (this.#alive && !(topic === `users/${o.userId}/errors` && this.#explains(text))) o.onMessage(topic, text);
    });
    client.on("error", (err) => {
      const { code } = err as { code?: unknown };
      this.lose(new Lost(typeof code === "number" ? code : 0, err.message));
    });
    client.on("disconnect", (packet) => {
      const reason = packet.reasonCode ?? 0;
      const text = packet.properties?.reasonString;
      this.lose(new Lost(reason, text ?? `the server ended the connection (0x${reason.toString(16)})`));
    });
    client.on("close", () => this.lose(new Lost(0, "the connection was lost")));
  }

  get alive(): boolean {
    return this.#alive;
  }

  /**
   * Reports whether this is about a publish that is under way: its
   * acknowledgement follows, and has a reason that says less.
   */
  #explains(text: string): boolean {
    const p = JSON.parse(text) as Problem;
    if (p.code === "history_trimmed" || !p.topic || !this.#asked.has(p.topic)) return false;
    this.#asked.set(p.topic, p);
    return true;
  }

  /** Publishes at QoS 1, one at a time to a topic; resolves with what the acknowledgement says. */
  publish(topic: string, payload: string): Promise<Props> {
    // A packet that is too large would end the connection, again and again.
    if (new TextEncoder().encode(payload).length + topic.length + 16 > this.#mostBytes) {
      return Promise.reject(new Refused(0x95, `the server takes up to ${this.#mostBytes} bytes`));
    }
    this.#asked.set(topic, undefined);
    return this.#wait<Props>((done) =>
      this.#client.publish(topic, payload, { qos: 1 }, (err, packet) => {
        const id = (packet as { messageId?: number } | undefined)?.messageId ?? 0;
        const props = this.#acks.get(id) ?? {};
        this.#acks.delete(id);
        if (!err) return done.resolve(props);
        const { code } = err as { code?: unknown };
        if (typeof code !== "number") return; // the connection has ended, which is told otherwise
        const text = (packet as { properties?: { reasonString?: string } } | undefined)?.properties?.reasonString;
        const said = this.#asked.get(topic);
        done.reject(new Refused(code, said?.message ?? text ?? err.message, said?.code));
      }),
    ).finally(() => this.#asked.delete(topic));
  }

  /** Publishes at QoS 0: it comes or it does not. */
  tell(topic: string, payload: string): void {
    if (this.#alive) this.#client.publish(topic, payload, { qos: 0 });
  }

  /** Subscribes to all or none. */
  subscribe(filters: Record<string, 0 | 1>): Promise<void> {
    const all = Object.fromEntries(Object.entries(filters).map(([f, qos]) => [f, { qos }]));
    return this.#wait((done) =>
      this.#client.subscribe(all, (err) => {
        if (!err) return done.resolve();
        if (!this.#alive) return;
        const { code, packet } = err as { code?: number; packet?: { granted?: number[] } };
        const bad = code ?? packet?.granted?.find((c) => c >= 0x80) ?? 0x80;
        done.reject(new Refused(bad, err.message));
      }),
    );
  }

  /** Finds out whether the server is still there; the link is lost if it says nothing. */
  check(): void {
    if (!this.#alive || this.#check) return;
    const before = this.#heard;
    this.#client.sendPing();
    this.#check = setTimeout(() => {
      this.#check = undefined;
      if (this.#heard === before) this.lose(new Lost(0, "the server does not answer"));
    }, this.o.timeout);
  }

  /** Ends the connection in order. Resolves when it has ended. */
  async end(): Promise<void> {
    if (!this.#alive) return;
    const why = new Lost(0, "the client is closed");
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(1000, this.o.timeout));
      this.#why = why;
      this.#client.end(false, {}, () => {
        clearTimeout(timer);
        resolve();
      });
    });
    this.lose(why);
  }

  /** Ends the connection at once. */
  lose(why: Lost): void {
    if (!this.#alive) return;
    this.#alive = false;
    clearInterval(this.#beat);
    clearTimeout(this.#check);
    this.#client.end(true);
    // After an end that was asked for, the socket may hang on its handshake.
    this.#client.stream?.destroy();
    const told = this.#why ?? why;
    for (const tell of [...this.#waiting]) tell(told);
    this.#closed.resolve(told);
  }

  #startBeat(): void {
    let before = this.#heard;
    this.#beat = setInterval(() => {
      if (this.#heard === before) this.check();
      before = this.#heard;
    }, 2 * this.o.timeout);
  }

  /** Waits for an answer, or for the end of the connection. */
  #wait<T>(ask: (done: Deferred<T>) => void): Promise<T> {
    const done = deferred<T>();
    if (!this.#alive) {
      done.reject(this.#why ?? new Lost(0, "there is no connection"));
      return done.promise;
    }
    const timer = setTimeout(() => this.lose(new Lost(0, "the server does not answer")), this.o.timeout);
    this.#waiting.add(done.reject);
    const over = () => {
      clearTimeout(timer);
      this.#waiting.delete(done.reject);
    };
    done.promise.then(over, over);
    ask(done);
    return done.promise;
  }
}
