// Calls that are going on: the cards of all of them, and one of them as it happens, with what staff can do about it.

import { get, may, post } from '../api.js';
import { announce, attempt, button, clear, confirm, dialog, empty, field, form, h, head, icon, input, navigate, pill } from '../ui.js';
import { business, endOf, length, phone, plain } from '../words.js';
import { WAYS } from './calls.js';
import { noteText, turnLine } from '../talk.js';
import * as stream from '../stream.js';

const STATES = { ringing: 'Ringing', reserved: 'Connecting', live: 'In progress', suspended: 'Connection lost', transferring: 'With a person', leaving: 'Moving to another server', ending: 'Ending' };

const tone = (state) => ({ suspended: 'warn', ringing: 'warn', reserved: 'warn', leaving: 'warn', ending: '', transferring: 'accent' })[state] ?? 'good';
const nameOf = (call) => call.customer_name ?? null;

export default async function page(view, { params, signal }) {
  const chosen = params.sid ?? null;
  const tiles = h('div', { class: 'tiles' });
  const list = h('div', { class: 'live-list', role: 'list', 'aria-label': 'Live calls' });
  const detail = h('div', { class: 'live-detail' });
  view.classList.toggle('has-choice', Boolean(chosen));
  clear(view, head('Live calls', { under: `What ${business.name} is talking about right now` }), tiles, h('div', { class: 'live-grid' }, list, detail));

  const showBoard = (d) => clear(tiles, [
    ['Calls today', d?.callsToday], ['New contacts today', d?.leadsToday], ['Appointments today', d?.appointmentsToday], ['Customers', d?.totalCustomers],
  ].map(([label, value]) => h('div', { class: 'tile' }, h('div', { class: 'label' }, label), h('div', { class: 'value' }, d ? Number(value ?? 0).toLocaleString('en-US') : '–'))));
  showBoard(null);
  const board = () => get('/api/dashboard', null, signal).then(showBoard).catch(() => null);
  board();

  let opened = null;
  let last = null;
  const cards = new Map();
  let due = false;
  const drawList = () => {
    due = false;
    const calls = [...stream.calls().values()].sort((a, b) => b.started - a.started);
    for (const [sid, card] of cards) {
      if (stream.calls().has(sid)) continue;
      card.remove();
      cards.delete(sid);
    }
    if (!calls.length) {
      clear(list, empty('Nobody is on the line', 'A call appears here the moment it is answered.',
        may('call') && h('div', { class: 'row' }, h('a', { class: 'button', href: '/test-call' }, 'Make a test call'), h('a', { class: 'button', href: '/outbound' }, 'Place a call'))));
    } else {
      list.querySelector('.state')?.remove();
      // Cards stay the same elements, so that the focus stays where it is.
      calls.forEach((call, i) => {
        let card = cards.get(call.call_sid);
        if (!card) cards.set(call.call_sid, card = newCard(call));
        fillCard(card.firstChild, call, call.call_sid === opened);
        if (list.children[i] !== card) list.insertBefore(card, list.children[i] ?? null);
      });
    }
    list.classList.toggle('alone', !calls.length && !last);
  };
  const open = (sid) => {
    if (opened === sid && sid) return;
    opened = sid;
    const call = stream.calls().get(sid);
    if (!call) {
      clear(detail);
      return;
    }
    last = showCall(detail, call, Boolean(chosen));
    stream.history(sid);
  };
  const choose = () => {
    const calls = stream.calls();
    if (chosen && calls.has(chosen)) open(chosen);
    else if (!chosen && !opened && calls.size) open([...calls.values()].sort((a, b) => a.started - b.started)[0].call_sid);
    else if (chosen && !opened) clear(detail, h('div', { class: 'card' }, empty('This call is not live', 'It may be over already.', h('a', { class: 'button', href: '/calls' }, 'See all calls'))));
  };

  stream.watch((event) => {
    if (event.type === 'turn' && event.sid === opened) last?.turn(event.turn);
    if (event.type === 'event' && event.sid === opened) last?.note(event.note);
    if (event.type === 'list' && opened) { if (event.sid === opened) last?.all(); else last?.facts(); }
    if (event.type === 'call' && event.sid === opened) last?.facts();
    if (event.type === 'missed' && opened) stream.history(opened);
    if (event.type === 'ended') {
      if (event.sid === opened) last?.over(event.call);
      board();
      if (event.sid === opened && !chosen) opened = null;
    }
    if (event.type === 'call' && event.fresh) announce(`New call from ${nameOf(event.call) ?? phone(event.call.phone_number)}`);
    if (!opened && !(last && event.type === 'ended')) choose();
    if (!due) requestAnimationFrame(drawList);
    due = true;
  }, signal);
  choose();
  drawList();

  const timer = setInterval(() => {
    for (const mark of view.querySelectorAll('[data-since]')) mark.textContent = length((Date.now() - Number(mark.dataset.since)) / 1000);
  }, 1000);
  signal.addEventListener('abort', () => clearInterval(timer));
}

const since = (call) => h('span', { class: 'num', data: { since: call.started } }, length((Date.now() - call.started) / 1000));

const newCard = (call) => h('div', { role: 'listitem' }, h('a', { class: 'live-card', href: `/live/${encodeURIComponent(call.call_sid)}` }));

function fillCard(card, call, isOpen) {
  const turns = [...call.turns.values()].sort((a, b) => a.n - b.n);
  const latest = turns.at(-1);
  if (isOpen) card.setAttribute('aria-current', 'true');
  else card.removeAttribute('aria-current');
  clear(card,
    h('div', { class: 'row apart' }, h('span', { class: 'row' }, h('span', { class: `dot pulse ${tone(call.state)}` }), h('b', { class: 'cut' }, nameOf(call) ?? phone(call.phone_number))), since(call)),
    h('div', { class: 'row apart small muted' }, h('span', null, nameOf(call) ? phone(call.phone_number) : call.kind === 'browser' ? 'Test call' : WAYS[call.direction] ?? plain(call.direction)),
      h('span', null, STATES[call.state] ?? plain(call.state ?? 'in progress'))),
    latest && h('p', { class: 'latest' }, h('span', { class: latest.speaker }, latest.speaker === 'caller' ? 'Caller: ' : 'Receptionist: '), latest.said));
}

function showCall(place, call, back) {
  const sid = encodeURIComponent(call.call_sid);
  const lines = h('ol', { class: 'talk', 'aria-label': 'Conversation', 'aria-live': 'polite', 'aria-relevant': 'additions' });
  const scroller = h('div', { class: 'live-talk', tabindex: '0', 'aria-label': 'Conversation as it happens' }, lines);
  const hint = h('p', { class: 'muted small waiting' }, 'Nothing has been said yet.');
  scroller.append(hint);
  let muted = Boolean(call.muted);
  let ended = false;

  const act = (path, body, done) => attempt(() => post(`/api/live/${sid}/${path}`, body), done);
  const mute = button(muted ? 'Unmute the receptionist' : 'Mute the receptionist', {
    small: true, 'aria-pressed': String(muted),
    onclick: async () => {
      // The event may tell of it before the answer does.
      const now = !muted;
      const { ok } = await act('mute', { muted: now }, now ? 'The receptionist is silent' : 'The receptionist speaks again');
      if (!ok) return;
      call.muted = now;
      setMuted(now);
    },
  }, 'mute');
  let saying = false;
  const sayWords = input('text', { placeholder: 'Have the receptionist say…', 'aria-label': 'A sentence for the receptionist to say', maxlength: 500 });
  const say = h('form', { class: 'say', onsubmit: async (event) => {
    event.preventDefault();
    const text = sayWords.value.trim();
    if (!text || saying) return;
    saying = true;
    const { ok } = await act('say', { text }, 'It will be said next');
    saying = false;
    if (ok && sayWords.value.trim() === text) sayWords.value = '';
  } }, sayWords, h('button', { type: 'submit', class: 'button main' }, 'Say'));
  const transfer = button('Transfer', { small: true, onclick: () => dialog('Transfer the call', (close) => form([
    field('Number', input('number', { type: 'tel', placeholder: 'The business’s own transfer number' }), { hint: 'With country code, such as +12025550177. Leave it empty for the number in the settings.' }),
  ], async ({ number }) => {
    await post(`/api/live/${sid}/transfer`, number.trim() ? { number: number.trim() } : {});
    close();
  }, { label: 'Transfer', cancel: () => close() })) }, 'transfer');
  const end = button('End call', { small: true, tone: 'danger', onclick: async () => {
    if (await confirm('End this call?', 'The caller hears a goodbye and the line is closed.', 'End call')) await act('end', { goodbye: true }, 'The call is ending');
  } }, 'end');
  const controls = h('div', { class: 'row controls' }, mute, transfer, end);
  const facts = h('div', { class: 'grow' });
  const showFacts = () => {
    const kind = { browser: 'Test call', simulated: 'Simulated' }[call.kind];
    const name = nameOf(call) ?? phone(call.phone_number);
    clear(facts, h('h2', null, call.customer_id ? h('a', { href: `/customers/${call.customer_id}` }, name) : name), h('div', { class: 'row small muted' }, since(call), nameOf(call) && h('span', null, phone(call.phone_number)), pill(WAYS[call.direction] ?? plain(call.direction)), kind && pill(kind, 'accent')));
    if (Boolean(call.muted) !== muted) setMuted(Boolean(call.muted));
  };
  const setMuted = (now) => {
    muted = now;
    mute.setAttribute('aria-pressed', String(muted));
    mute.lastChild.textContent = muted ? 'Unmute the receptionist' : 'Mute the receptionist';
  };
  const foot = h('div', { class: 'live-foot' }, may('call') && say);

  clear(place, h('section', { class: 'card' },
    h('header', null,
      back && h('a', { class: 'button quiet square small only-narrow', href: '/', 'aria-label': 'All live calls' }, icon('left')),
      facts,
      may('call') && controls),
    scroller, foot));

  const pinned = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
  const put = (turn, fresh) => {
    hint.remove();
    const known = lines.querySelector(`[data-n="${turn.n}"]`);
    const follow = pinned();
    const asked = [...call.turns.values()].some((other) => other.speaker === 'caller' && other.n < turn.n);
    const line = turnLine(turn, { fresh: fresh && !known, live: !ended, unasked: !asked });
    if (known) known.replaceWith(line);
    else {
      const next = [...lines.querySelectorAll('.turn')].find((other) => Number(other.dataset.n) > turn.n);
      lines.insertBefore(line, next ?? null);
    }
    if (follow) scroller.scrollTop = scroller.scrollHeight;
  };
  const all = () => {
    for (const turn of [...call.turns.values()].sort((a, b) => a.n - b.n)) put(turn, false);
    scroller.scrollTop = scroller.scrollHeight;
  };
  showFacts();
  all();
  return {
    all: () => { showFacts(); all(); },
    facts: showFacts,
    turn: (turn) => put(turn, true),
    note: (note) => {
      const text = noteText(note);
      if (ended || !text) return;
      const follow = pinned();
      lines.append(h('li', { class: 'note-line' }, h('span', { class: 'at' }, length((Date.now() - call.started) / 1000)), h('span', null, text)));
      if (follow) scroller.scrollTop = scroller.scrollHeight;
    },
    over: (gone) => {
      ended = true;
      controls.remove();
      for (const mark of place.querySelectorAll('[data-since]')) delete mark.dataset.since;
      clear(foot, h('div', { class: 'row apart note' }, h('span', null, `The call is over${gone.end_reason ? `. ${endOf(gone.end_reason)}` : ''}.`),
        button('Open the call', { small: true, onclick: async () => {
          const { ok, result: id } = await attempt(async () => gone.id ?? stream.idOf(gone.call_sid));
          if (ok) navigate(id ? `/calls/${id}` : '/calls');
        } })));
      announce('The call is over');
    },
  };
}

