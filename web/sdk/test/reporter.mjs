// Tells what became of each test as a line of JSON, for a program that reads it.
export default async function* reporter(events) {
  const names = [];
  const notes = [];
  for await (const { type, data } of events) {
    if (type === "test:start") {
      names.length = data.nesting;
      names.push(data.name);
    } else if (type === "test:diagnostic") {
      notes.push(data.message);
    } else if (type === "test:stderr" || type === "test:stdout") {
      notes.push(data.message.trimEnd());
    } else if (type === "test:pass" || type === "test:fail") {
      const error = data.details.error?.cause ?? data.details.error;
      yield `${JSON.stringify({
        path: [...names.slice(0, data.nesting), data.name],
        suite: data.details.type === "suite",
        ok: type === "test:pass",
        skipped: data.skip !== undefined || data.todo !== undefined,
        ms: data.details.duration_ms,
        error: error && (error.stack ?? String(error)),
        notes: notes.splice(0),
      })}\n`;
    }
  }
}
