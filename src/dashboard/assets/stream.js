// Live calls, as the server tells them. One connection for the whole page; where it does not hold, the list is asked for
// every few seconds instead.

import { get } from './api.js';

const live = new Map();
const watchers = new Set();
const stateWatchers = new Set();
let source = null;
let timer = null;
let failures = 0;
let connected = true;

/** Calls that are live, by CallSid: `{call_sid, phone_number, direction, started, state, turns, notes, ...}`. */
export const calls = () => live;

/** Tells `work({type, sid, ...})` whatever happens, until the signal is aborted. */
export function watch(work, signal) {
  watchers.add(work);
  signal?.addEventListener('abort', () => watchers.delete(work));
}

/** Tells whether events arrive as they happen. */
export function watchState(work) {
  stateWatchers.add(work);
  work(connected);
}

function tell(event) {
  for (const work of watchers) work(event);
}

function setConnected(now) {
  if (now === connected) return;
  connected = now;
  for (const work of stateWatchers) work(now);
}

/** One call as the API describes it, with the fields every page uses. */
function callOf(raw) {
  const { call_sid: sid, started_at: started, duration: seconds = 0 } = raw;
  return {
    ...raw,
    call_sid: sid,
    phone_number: raw.phone_number ?? null,
    direction: raw.direction ?? 'inbound',
    started: started ? Date.parse(started) : Date.now() - seconds * 1000,
  };
}

function take(raw) {
  const fresh = callOf(raw);
  const known = live.get(fresh.call_sid);
  if (known) {
    const { turns, notes, ...facts } = fresh;
    Object.assign(known, Object.fromEntries(Object.entries(facts).filter(([, v]) => v !== null && v !== undefined)));
    for (const turn of turns ?? []) known.turns.set(turn.n, turn);
    return known;
  }
  const call = { ...fresh, late: (raw.duration ?? 0) >= 3, turns: new Map((fresh.turns ?? []).map((t) => [t.n, t])), notes: [] };
  live.set(call.call_sid, call);
  return call;
}

/** Asks for the list; calls that are no longer on it are over. */
export async function refresh() {
  const answer = await get('/api/live');
  const items = answer.items ?? [];
  const present = new Set(items.map((raw) => take(raw).call_sid));
  for (const sid of [...live.keys()]) {
    if (!present.has(sid)) over(sid, null);
  }
  tell({ type: 'list' });
}

/** The number under which a call is listed. */
export const idOf = async (sid) => (await get(`/api/calls/${encodeURIComponent(sid)}`)).id;

/** Asks for the conversation so far of a call that was live before this page was opened. */
export async function history(sid) {
  const call = live.get(sid);
  // Of a call that has only begun, every turn is told.
  if (!call || call.asked || !call.late) return;
  call.asked = true;
  try {
    call.id ??= await idOf(sid);
    const { id } = call;
    if (!id) {
      call.asked = false;
      return;
    }
    const { items } = await get(`/api/calls/${id}/turns`, { limit: 500 });
    for (const turn of items) if (!call.turns.has(turn.n)) call.turns.set(turn.n, turn);
    tell({ type: 'list', sid });
  } catch {
    call.asked = false;
  }
}

function over(sid, reason) {
  const call = live.get(sid);
  if (!call) return;
  live.delete(sid);
  call.ended = true;
  call.end_reason = reason;
  tell({ type: 'ended', sid, call });
}

function listen(name, work) {
  source.addEventListener(name, (event) => {
    let data;
    try {
      data = JSON.parse(event.data);
    } catch {
      return;
    }
    work(data);
  });
}

function open() {
  source = new EventSource('/api/stream');
  source.addEventListener('open', () => {
    failures = 0;
    setConnected(true);
    refresh().catch(() => null);
  });
  source.addEventListener('error', () => {
    failures += 1;
    // The first one is mostly the stream's own end, after which the browser opens another; if not, this shows it.
    if (failures < 2 && source.readyState !== EventSource.CLOSED) {
      refresh().catch(() => null);
      return;
    }
    setConnected(false);
    if (source.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(() => { if (!source && timer) open(); }, Math.min(30000, 1000 * 2 ** failures));
    }
  });
  listen('call', (data) => {
    const fresh = !live.has(data.call_sid);
    const call = take(data);
    tell({ type: 'call', sid: call.call_sid, call, fresh });
  });
  listen('turn', (data) => {
    const { call_sid: sid, ...turn } = data;
    if (!live.has(sid)) refresh().catch(() => null);
    const call = live.get(sid) ?? take({ call_sid: sid });
    call.turns.set(turn.n, turn);
    tell({ type: 'turn', sid, turn, call });
  });
  listen('event', (data) => {
    const { call_sid: sid, ...note } = data;
    const call = live.get(sid);
    if (!call) return;
    call.notes.push({ ...note, at: Date.now() });
    if (call.notes.length > 200) call.notes.shift();
    tell({ type: 'event', sid, note, call });
  });
  listen('ended', (data) => over(data.call_sid, data.end_reason));
  // Something was missed: what it was is to be asked for.
  listen('resync', () => {
    for (const call of live.values()) Object.assign(call, { asked: false, late: true });
    refresh().then(() => tell({ type: 'missed' })).catch(() => null);
  });
}

/** A page nobody sees gives its connection back: browsers allow only a few to one server, over all tabs. */
function away() {
  source?.close();
  source = null;
}

function back() {
  if (timer && !source) open();
}

let hiding = 0;
addEventListener('pagehide', away);
addEventListener('pageshow', back);
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(away, 15000);
  else back();
});

export function start() {
  stop();
  open();
  refresh().catch(() => null);
  let beats = 0;
  timer = setInterval(() => {
    beats += 1;
    if (document.hidden) return;
    // With events, an occasional look is enough to mend what was missed.
    if (!connected || beats % 10 === 0) refresh().catch(() => null);
  }, 3000);
}

export function stop() {
  source?.close();
  source = null;
  clearInterval(timer);
  timer = null;
  live.clear();
}
