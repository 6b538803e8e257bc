// One call: what was said and heard, its sound, what happened, how long everything took, what it cost.

import { get, may, remove } from '../api.js';
import { attempt, button, card, clear, confirm, empty, fillFrom, gently, h, head, pill, segments } from '../ui.js';
import { TONES, clockSeconds, count, endOf, full, length, millis, money, phone, plain } from '../words.js';
import { answerTime, latencyOf, noteText, turnLine } from '../talk.js';
import { spans, timeline, waterfall } from '../timeline.js';
import { WAYS, caller, outcomes } from './calls.js';

const all = async (path, signal) => {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { limit: 500, cursor }, signal);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < 5000);
  return items;
};

const orNull = (promise) => promise.catch((error) => {
  if (error.name === 'AbortError') throw error;
  return null;
});

/** The recording's outline; `pending` while it is being put together, null where there is none. */
const waveform = (path, signal) => get(`${path}/waveform`, null, signal).catch((error) => {
  if (error.name === 'AbortError') throw error;
  return error.status === 409 ? 'pending' : null;
});

/** Looks again for a recording that is being put together, for a minute. */
function awaitRecording(path, signal, ready) {
  let tries = 30;
  const timer = setInterval(async () => {
    tries -= 1;
    const found = await waveform(path, signal).catch(() => null);
    if (found === 'pending' && tries) return;
    clearInterval(timer);
    if (found && found !== 'pending' && !signal.aborted) ready();
  }, 2000);
  signal.addEventListener('abort', () => clearInterval(timer));
}

const TROUBLE = /(fail|error|broke|gap|fallback|timeout|lost|refus|panic|died)/;

export default async function page(view, { params, signal }) {
  const id = params.id;
  await fillFrom(view, async () => {
    const call = await get(`/api/calls/${id}`, null, signal);
    const path = `/api/calls/${call.id}`;
    const [turns, events, cost, wave, understood] = await Promise.all([
      all(`${path}/turns`, signal), all(`${path}/events`, signal), get(`${path}/cost`, null, signal),
      waveform(path, signal), call.summary ? orNull(get(`${path}/outcome`, null, signal)) : null,
    ]);
    return { call, turns, events, cost, wave, understood };
  }, (data) => show(data, signal, () => page(view, { params, signal })), { signal, lines: 9, whole: true });
}

/** The API's waveform in the words of the time axis. Quiet calls are drawn larger. */
function waveOf(raw) {
  if (!raw) return null;
  const { caller, bot } = raw.peaks;
  const most = Math.max(20, ...caller, ...bot);
  const scaled = (peaks) => peaks.map((peak) => peak / most);
  return { caller: scaled(caller), bot: scaled(bot), offset_ms: raw.offset_ms, duration_ms: raw.ms };
}

function show({ call, turns, events, cost, wave: rawWave, understood }, signal, reload) {
  const pending = rawWave === 'pending';
  const wave = waveOf(pending ? null : rawWave);
  const over = call.status !== 'in-progress';
  if (pending && over) awaitRecording(`/api/calls/${call.id}`, signal, reload);
  const began = Date.parse(call.answered_at ?? call.started_at);
  const notes = events.map((e) => ({
    ...e, at_ms: Math.max(0, e.at_ms - began), tone: TROUBLE.test(e.code) ? 'bad' : '',
  }));
  const last = turns.at(-1)?.at_ms ?? 0;
  const total = Math.max(1000, (call.duration ?? 0) * 1000, last + 1500, wave ? wave.offset_ms + wave.duration_ms : 0);
  const recorded = Boolean(wave);

  const transcript = h('ol', { class: 'talk' });
  const mark = (turn, quiet) => {
    for (const line of transcript.querySelectorAll('.now')) line.classList.remove('now');
    const line = turn && transcript.querySelector(`[data-n="${turn.n}"]`);
    line?.classList.add('now');
    if (!quiet) line?.scrollIntoView({ block: 'nearest', behavior: gently() });
  };
  const parts = spans(turns, total, wave, latencyOf);
  const startOf = new Map(parts.map(({ turn, start }) => [turn, start]));
  const axis = timeline({ parts, events: notes, total, wave, audio: recorded ? `/api/calls/${call.id}/recording` : null, signal, onTurn: mark, silent: pending && (over ? 'The recording is being put together.' : 'The recording can be heard once the call is over.') });
  const seek = (turn) => {
    axis.seek(startOf.get(turn) ?? 0);
    mark(turn);
    axis.sound?.play().catch(() => null);
  };
  const asked = turns.findIndex((turn) => turn.speaker === 'caller');
  const answers = asked < 0 ? [] : turns.slice(asked);
  transcript.append(...parts.map(({ turn, start }, i) => turnLine(turn, { seek, start, unasked: asked < 0 || i < asked })));

  const waits = answers.map((t) => answerTime(latencyOf(t))).filter((ms) => ms !== null && ms !== undefined).sort((a, b) => a - b);
  const fall = waterfall(answers, latencyOf, seek, startOf);
  const below = h('div');
  const panes = {
    latency: () => fall ?? h('p', { class: 'muted' }, 'No answer of this call was timed.'),
    events: () => eventList(notes),
  };
  const choose = (name) => clear(below, panes[name]());
  choose('latency');

  const actions = [
    call.status === 'in-progress' && h('a', { class: 'button main', href: `/live/${call.call_sid}` }, 'Watch live'),
    recorded && h('a', { class: 'button', href: `/api/calls/${call.id}/recording`, download: `call-${call.id}.wav` }, 'Download recording'),
    recorded && may('admin') && button('Delete recording', { tone: 'danger', onclick: async () => {
      if (!await confirm('Delete this recording?', 'The audio is removed for good. The transcript stays.', 'Delete recording')) return;
      const { ok } = await attempt(() => remove(`/api/calls/${call.id}/recording`), 'The recording is deleted');
      if (ok) reload();
    } }),
  ].filter(Boolean);

  return [
    head(caller(call), {
      back: { href: '/calls', label: 'Calls' }, actions,
      under: h('span', { class: 'row' }, `${WAYS[call.direction] ?? plain(call.direction)} · ${full(call.started_at)} · ${length(call.duration)}`, pill(plain(call.status), TONES[call.status]), outcomes(call)),
    }),
    h('div', { class: 'stack' },
      summaryOf(call, signal),
      card(null, axis.node, { bare: true }),
      h('div', { class: 'call-grid' },
        card('Conversation', turns.length ? transcript : empty('Nothing was said', 'The call ended before anybody spoke.'), {
          tools: waits.length > 0 && h('span', { class: 'small muted num' }, `${count(waits.length, 'answer')}, half of them within ${millis(waits[Math.floor(waits.length / 2)])}`),
        }),
        h('div', { class: 'stack' },
          card('Details', details(call, cost, understood?.outcome ?? {})),
          h('section', { class: 'card' }, h('header', null, segments('Show', [['latency', 'Answer times'], ['events', 'What happened']], 'latency', choose)), h('div', { class: 'inside' }, below))))),
  ];
}

const UNWRITTEN = { pending: 'It is being written and appears here in a moment.', failed: 'It could not be written. The conversation below is complete.' };

/** The summary's card; it fills itself when the summary is written. None where no summary is due. */
function summaryOf(call, signal) {
  const place = h('div');
  const draw = (now) => clear(place, now.summary ? card('Summary', h('p', { class: 'summary' }, now.summary))
    : UNWRITTEN[now.summary_state] && card('Summary', h('p', { class: 'muted', role: 'status' }, UNWRITTEN[now.summary_state])));
  draw(call);
  if (!call.summary && call.summary_state === 'pending') {
    const timer = setInterval(async () => {
      const now = await get(`/api/calls/${call.id}`, null, signal).catch(() => null);
      if (!now || (!now.summary && now.summary_state === 'pending')) return;
      clearInterval(timer);
      draw(now);
    }, 3000);
    signal.addEventListener('abort', () => clearInterval(timer));
  }
  return place.firstChild ? place : null;
}

const ITEMS = {
  stt_ms: ['Listening', (n) => length(n / 1000)], llm_input_tokens: ['Thinking, read', (n) => count(n, 'token')], llm_output_tokens: ['Thinking, written', (n) => count(n, 'token')],
  tts_chars: ['Speaking', (n) => count(n, 'letter')], carrier_ms: ['Telephone', (n) => length(n / 1000)],
};

function details(call, cost, understood) {
  const rows = [
    ['Number', call.phone_number ? phone(call.phone_number) : call.caller],
    ['Customer', call.customer_id ? h('a', { href: `/customers/${call.customer_id}` }, call.customer_name ?? `Customer ${call.customer_id}`) : 'Not known'],
    ['Ended', call.end_reason ? endOf(call.end_reason) : 'Not yet'],
    ['Wanted', understood.intent && plain(understood.intent)],
    ['Mood', understood.sentiment && plain(understood.sentiment)],
    ['Connection broke', call.breaks ? count(call.breaks, 'time') : null],
    ['Call’s ID', h('span', { class: 'mono' }, call.call_sid)],
    ['Cost', cost.items.length ? h('b', null, money(cost.total, cost.currency)) : null],
  ];
  const spent = cost.items.map((item) => {
    const [name, amount] = ITEMS[item.item] ?? [plain(item.item), String];
    return [h('span', { class: 'small' }, name), h('span', { class: 'small' }, `${money(item.cost, cost.currency)} · ${amount(item.amount)}${item.model ? ` · ${item.model.split('/').at(-1)}` : ''}`)];
  });
  const facts = (all) => h('dl', { class: 'facts' }, all.filter(([, v]) => v !== null && v !== undefined && v !== '').flatMap(([k, v]) => [h('dt', null, k), h('dd', null, v)]));
  return [facts(rows), spent.length > 0 && h('details', { class: 'log' }, h('summary', null, 'What the cost is made of'), facts(spent))];
}

function eventList(notes) {
  if (!notes.length) return h('p', { class: 'muted' }, 'Nothing was noted.');
  const line = (e, ...what) => h('li', null, h('span', { class: 'num muted', title: e.at ? clockSeconds(e.at) : '' }, length(Math.max(0, e.at_ms) / 1000)), h('div', null, what));
  const known = notes.map((e) => [e, noteText(e)]).filter(([, text]) => text);
  return h('div', { class: 'stack' },
    known.length ? h('ol', { class: 'events', tabindex: '0', 'aria-label': 'What happened' }, known.map(([e, text]) => line(e, h('span', { class: e.tone }, text)))) : h('p', { class: 'muted' }, 'Nothing out of the ordinary.'),
    // For whoever looks for a fault.
    h('details', { class: 'log' }, h('summary', null, `Technical log (${notes.length})`), h('ol', { class: 'events', tabindex: '0', 'aria-label': 'Technical log' }, notes.map((e) => {
      const detail = e.detail && Object.keys(e.detail).length ? JSON.stringify(e.detail) : '';
      return line(e, h('b', { class: `mono ${e.tone}` }, e.code), detail && h('div', { class: 'mono muted detail' }, detail));
    }))));
}

