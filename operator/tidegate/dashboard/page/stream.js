// The server's events: kept open, begun again where they ended, and a word for how that goes.
//
// `fetch` instead of EventSource: the key travels in a header and not in an address, and a refusal can be read.

const SILENCE = 25000; // the server beats every ten seconds
const PAUSES = [500, 1000, 2000, 4000, 8000];
const HIDDEN = 60000; // a browser keeps six connections to a server: pages that nobody sees give theirs back

export class Stream {
  #last = ""; #tries = 0; #cut = null; #timer = 0; #asleep = false; #wake = null;

  constructor(key, hears) {
    this.key = key;
    this.hears = hears; // {hello, facts, changes, state}
    let hiding = 0;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(hiding);
      if (document.hidden) hiding = setTimeout(() => { this.#asleep = true; this.#cut?.abort(); }, HIDDEN);
      else if (this.#asleep) { this.#asleep = false; this.#wake?.(); }
    });
  }

  async run() {
    for (;;) {
      let why = "the dashboard's server has ended the connection";
      try { why = (await this.#read()) ?? why; } catch (error) {
        why = error.name === "AbortError" ? "the dashboard's server is silent" : "the dashboard's server cannot be reached";
      }
      clearTimeout(this.#timer);
      this.hears.state("lost", why);
      if (this.#asleep) await new Promise((resolve) => { this.#wake = resolve; });
      else await new Promise((resolve) => setTimeout(resolve, PAUSES[Math.min(this.#tries++, PAUSES.length - 1)]));
    }
  }

  async #read() {
    this.#cut = new AbortController();
    this.#listen();
    const headers = { Accept: "text/event-stream", "X-Tidegate-Token": this.key };
    if (this.#last) headers["Last-Event-ID"] = this.#last;
    const answer = await fetch("events", { headers, signal: this.#cut.signal, cache: "no-store" });
    if (!answer.ok) return (await answer.json().catch(() => ({}))).error?.what ?? `the server answered ${answer.status}`;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = ""; // of an event that is not whole yet
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return null;
      this.#listen();
      const pieces = (rest + value).split("\n\n");
      rest = pieces.pop();
      pieces.forEach((piece) => this.#event(piece));
    }
  }

  #listen() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#cut.abort(), SILENCE);
  }

  #event(text) {
    const lines = Object.fromEntries(text.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
    const data = JSON.parse(lines.data ?? "{}");
    if (lines.event === "changes") this.hears.changes(data);
    else this.hears[lines.event]?.(data);
    if (lines.id) this.#last = lines.id;
    this.#tries = 0;
    this.hears.state("live", "");
  }
}
