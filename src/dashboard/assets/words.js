// Times, lengths and the API's words, as people read them. Times are shown in the business's zone.

export const business = { name: 'Front desk', timezone: undefined, services: [], staff: [], hours: {} };

const formats = new Map();

function format(options) {
  const key = JSON.stringify([options, business.timezone]);
  if (!formats.has(key)) {
    let made;
    try {
      made = new Intl.DateTimeFormat('en-US', { ...options, timeZone: business.timezone });
    } catch {
      made = new Intl.DateTimeFormat('en-US', options);
    }
    formats.set(key, made);
  }
  return formats.get(key);
}

const show = (time, options) => (time ? format(options).format(new Date(time)) : '');

export const clock = (time) => show(time, { hour: 'numeric', minute: '2-digit' });
export const clockSeconds = (time) => show(time, { hour: 'numeric', minute: '2-digit', second: '2-digit' });
export const day = (time) => show(time, { weekday: 'short', month: 'short', day: 'numeric' });
/** A day and a time; the year where it is another one. */
export function dayAndTime(time) {
  const year = time && isoDate(time).slice(0, 4) !== isoDate().slice(0, 4) ? { year: 'numeric' } : {};
  return show(time, { month: 'short', day: 'numeric', ...year, hour: 'numeric', minute: '2-digit' });
}

export const full = (time) => show(time, { dateStyle: 'full', timeStyle: 'short' });

/** The date in the business's zone, `YYYY-MM-DD`. */
export function isoDate(time = Date.now()) {
  const parts = Object.fromEntries(
    format({ year: 'numeric', month: '2-digit', day: '2-digit' }).formatToParts(new Date(time)).map((p) => [p.type, p.value]));
  return `${parts.year}-${parts.month}-${parts.day}`;
}

/** Minutes since midnight in the business's zone. */
export function minuteNow() {
  const parts = Object.fromEntries(
    format({ hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).formatToParts(new Date()).map((p) => [p.type, p.value]));
  return Number(parts.hour) * 60 + Number(parts.minute);
}

/** Today's calls by their time, older ones with their day. */
export function when(time) {
  if (!time) return '';
  return isoDate(time) === isoDate() ? clock(time) : dayAndTime(time);
}

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

export function ago(time) {
  const seconds = (new Date(time) - Date.now()) / 1000;
  for (const [unit, size] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
  }
  return 'just now';
}

/** Seconds as `3:07`. */
export function length(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(Number(seconds))) return '–';
  const whole = Math.max(0, Math.round(Number(seconds)));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = String(whole % 60).padStart(2, '0');
  return hours ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}

/** Milliseconds as seconds: nobody at a desk counts in thousandths. */
export const millis = (ms) => `${(ms / 1000).toFixed(ms >= 9950 ? 1 : 2)} s`;

/** A sum of money; small ones with all their digits. */
export function money(amount, currency = 'USD', most = 4) {
  if (amount > 0 && amount < 0.0001) return `under ${money(0.0001, currency)}`;
  const digits = amount !== 0 && Math.abs(amount) < 1 ? most : 2;
  return new Intl.NumberFormat('en-US', { style: 'currency', currency, minimumFractionDigits: digits, maximumFractionDigits: digits }).format(amount);
}

/** A telephone number, spaced for reading. */
export function phone(number) {
  const match = /^\+1(\d{3})(\d{3})(\d{4})$/.exec(number ?? '');
  return match ? `(${match[1]}) ${match[2]}-${match[3]}` : number || 'Unknown number';
}

export const count = (n, one, many = `${one}s`) => `${Number(n).toLocaleString('en-US')} ${Number(n) === 1 ? one : many}`;

/** `no_answer` and `no-answer` as `No answer`. */
export function plain(word) {
  const text = String(word ?? '').replace(/[_-]/g, ' ').replace(/\./g, ': ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Why a call ended. */
const ENDS = {
  completed: 'The caller hung up or said goodbye', transferred: 'Put through to a person', message_taken: 'After a message was taken', apology: 'With an apology: something failed',
  silence: 'Nobody spoke any more', max_duration: 'The longest time for a call was over', lost: 'The connection was lost', spend_cap: 'It had cost as much as a call may',
  ended: 'Staff ended it', shutdown: 'The server was stopped', never_started: 'The line was never opened', failed: 'The call failed', busy: 'The line was busy', no_answer: 'Nobody answered', canceled: 'It was called off',
};
export const endOf = (reason) => ENDS[reason] ?? plain(reason);

export const TONES = {
  'in-progress': 'good', ringing: 'warn', queued: 'warn', completed: '', failed: 'bad', busy: 'warn', 'no-answer': 'warn', canceled: '',
  confirmed: 'good', cancelled: 'bad', transferred: 'accent', message_taken: 'warn', apology: 'bad', lost: 'bad',
};

/** Minutes since midnight as `9:30 AM`. */
export function minuteClock(minute) {
  const hour = Math.floor(minute / 60) % 24;
  const rest = String(Math.round(minute) % 60).padStart(2, '0');
  return `${hour % 12 || 12}:${rest} ${hour < 12 ? 'AM' : 'PM'}`;
}

/** Minutes since midnight as `09:30`. */
export const minuteText = (minute) => `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(Math.round(minute) % 60).padStart(2, '0')}`;

/** `09:30`, `9:30 AM` or an RFC 3339 time's local part as minutes since midnight. */
export function minuteOf(text) {
  const match = /(?:T|^)(\d{1,2}):(\d{2})(?::\d{2})?\s*([ap]m)?/i.exec(text ?? '');
  if (!match) return 0;
  const half = match[3]?.toLowerCase();
  const hour = half ? (Number(match[1]) % 12) + (half === 'pm' ? 12 : 0) : Number(match[1]);
  return hour * 60 + Number(match[2]);
}

/** A time on the business's clock, `YYYY-MM-DDTHH:MM`, as an instant. */
export function instant(wall) {
  const wanted = Date.parse(`${wall}Z`);
  const clockOf = format({ year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  let at = wanted;
  // The zone's offset is known for instants only: the second guess has the right one.
  for (let i = 0; i < 2; i += 1) {
    const p = Object.fromEntries(clockOf.formatToParts(new Date(at)).map((x) => [x.type, x.value]));
    at += wanted - Date.parse(`${p.year}-${p.month}-${p.day}T${p.hour}:${p.minute}Z`);
  }
  return new Date(at).toISOString();
}

/** A date some days on; dates without a zone. */
export function addDays(date, days) {
  const at = new Date(`${date}T12:00:00Z`);
  at.setUTCDate(at.getUTCDate() + days);
  return at.toISOString().slice(0, 10);
}

const DATE = (options) => new Intl.DateTimeFormat('en-US', { ...options, timeZone: 'UTC' });
const noon = (date) => new Date(`${date}T12:00:00Z`);
export const dateLong = (date) => DATE({ weekday: 'long', month: 'long', day: 'numeric', year: 'numeric' }).format(noon(date));
export const dateShort = (date) => DATE({ weekday: 'short', month: 'short', day: 'numeric' }).format(noon(date));
export const weekdayOf = (date) => DATE({ weekday: 'long' }).format(noon(date)).toLowerCase();

/** The Monday of a date's week. */
export function monday(date) {
  return addDays(date, -((noon(date).getUTCDay() + 6) % 7));
}
