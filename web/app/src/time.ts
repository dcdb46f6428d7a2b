// Times as people say them, in the language of the browser.

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

export const timeOfDay = (at: string | Date) => clock.format(new Date(at));
export const inFull = (at: string | Date) => full.format(new Date(at));

/** Whole days between two moments, by the calendar. */
export function daysAgo(at: Date, now = new Date()): number {
  const midnight = (d: Date) => new Date(d.getFullYear(), d.getMonth(), d.getDate());
  return Math.round((+midnight(now) - +midnight(at)) / 86_400_000);
}

export function dayName(at: Date, now = new Date()): string {
  const days = daysAgo(at, now);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days > 1 && days < 7) return weekday.format(at);
  return at.getFullYear() === now.getFullYear() ? date.format(at) : `${date.format(at)} ${at.getFullYear()}`;
}

/** For lists: the time today, the day this week, else the date. */
export function listTime(at: string | undefined, now = new Date()): string {
  if (!at) return "";
  const d = new Date(at);
  const days = daysAgo(d, now);
  if (days <= 0) return clock.format(d);
  if (days === 1) return "Yesterday";
  return days < 7 ? weekday.format(d).slice(0, 3) : short.format(d);
}

/** How long ago, in words. */
export function ago(at: string | undefined, now = Date.now()): string {
  if (!at) return "";
  const s = Math.max(0, (now - +new Date(at)) / 1000);
  if (s < 60) return "just now";
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return dayName(new Date(at)) + " " + timeOfDay(at);
}
