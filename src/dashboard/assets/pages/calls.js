// All calls, newest first, by status, direction, outcome and time.

import { address } from '../api.js';
import { empty, h, head, icon, input, pill, select, setQuery, settled, table } from '../ui.js';
import { TONES, length, phone, plain, when } from '../words.js';
import { endless } from '../scroll.js';

const STATUS = ['in-progress', 'completed', 'failed', 'busy', 'no-answer', 'canceled', 'ringing', 'queued'];
const OUTCOMES = [['appointment_booked', 'Appointment booked'], ['lead_captured', 'New contact'], ['message_taken', 'Message taken'], ['transferred', 'Transferred'], ['follow_up', 'Follow-up due']];

/** Which way a call went. */
export const WAYS = { inbound: 'Incoming', outbound: 'Outgoing' };

/** What a call achieved, as marks. */
export function outcomes(call) {
  return [
    call.appointment_booked && pill('Booked', 'good'), call.message_taken && pill('Message', 'warn'), call.transferred && pill('Transferred', 'accent'),
    call.lead_captured && pill('New contact'), call.follow_up && pill('Follow-up', 'bad'),
  ].filter(Boolean);
}

export const caller = (call) => call.customer_name ?? (call.phone_number ? phone(call.phone_number) : call.caller);

/** The table of calls; on a customer's page it does not say whose they are. */
export function callTable({ of } = {}) {
  const node = table([
    of ? { title: 'When', kind: 'first', cell: (c) => h('div', { class: 'two' }, h('a', { class: 'strong', href: `/calls/${c.id}` }, when(c.started_at)), h('span', null, WAYS[c.direction] ?? plain(c.direction))) } :
    { title: 'Caller', kind: 'first', cell: (c) => h('div', { class: 'two' }, h('a', { class: 'strong', href: `/calls/${c.id}` }, caller(c)),
      h('span', null, [c.customer_name && c.phone_number && phone(c.phone_number), c.kind === 'browser' ? 'Test call' : WAYS[c.direction] ?? plain(c.direction)].filter(Boolean).join(' · '))) },
    !of && { title: 'When', kind: 'nowrap', cell: (c) => when(c.started_at) },
    { title: 'Length', kind: 'num', cell: (c) => length(c.duration) },
    { title: 'Status', cell: (c) => (c.status === 'completed' ? null : pill(plain(c.status), TONES[c.status])) },
    { title: 'Outcome', cell: (c) => { const marks = outcomes(c); return marks.length ? h('div', { class: 'row' }, marks) : null; } },
    { title: 'Summary', kind: 'clip', cell: (c) => (c.summary ? h('div', { class: 'muted' }, c.summary) : null) },
  ].filter(Boolean), { label: 'Calls', open: (c) => `/calls/${c.id}` });
  return { node, add: node.add };
}

export default async function page(view, { query, signal }) {
  const filters = {};
  for (const name of ['q', 'status', 'direction', 'outcome', 'from', 'to']) filters[name] = query.get(name) ?? '';
  const list = endless('/api/calls', {
    signal, make: callTable,
    blank: (q) => (Object.values(q).some(Boolean)
      ? empty('No call matches', 'Try fewer or other filters.')
      : empty('No calls yet', 'Calls are listed here with their transcript and summary as soon as the first one is answered.', h('a', { class: 'button', href: '/test-call' }, 'Make a test call'))),
  });
  const exported = h('a', { class: 'button', download: '', title: 'As a table, for spreadsheets' }, icon('download'), 'Export');
  const apply = () => {
    setQuery(filters);
    exported.href = address('/api/export/calls.csv', { from: filters.from, to: filters.to });
    list.load({ ...filters });
  };
  const typed = settled((value) => { filters.q = value; apply(); });
  const pick = (name) => ({ onchange: (event) => { filters[name] = event.target.value; apply(); }, value: filters[name] });
  // On a phone the list would begin below the fold if all filters stood above it.
  const more = h('button', { type: 'button', class: 'button quiet only-small', 'aria-expanded': 'false', 'aria-controls': 'more-filters', onclick: () => more.setAttribute('aria-expanded', String(more.getAttribute('aria-expanded') !== 'true')) }, 'More filters');
  if (Object.entries(filters).some(([name, value]) => value && name !== 'q')) more.setAttribute('aria-expanded', 'true');
  view.append(head('Calls', { actions: [exported] }), h('div', { class: 'filters' },
    h('div', { class: 'grow' }, input('q', { type: 'search', placeholder: 'Words, a name, a number', 'aria-label': 'Search calls', value: filters.q, oninput: (event) => typed(event.target.value.trim()) })),
    more, h('div', { class: 'filter-more', id: 'more-filters' },
      select('outcome', [['', 'Any outcome'], ...OUTCOMES], { 'aria-label': 'Outcome', ...pick('outcome') }),
      select('direction', [['', 'In and out'], ...Object.entries(WAYS)], { 'aria-label': 'Direction', ...pick('direction') }),
      select('status', [['', 'Any status'], ...STATUS.map((s) => [s, plain(s)])], { 'aria-label': 'Status', ...pick('status') }),
      h('span', { class: 'spans' }, h('label', { class: 'span' }, 'From', input('from', { type: 'date', ...pick('from') })), h('label', { class: 'span' }, 'to', input('to', { type: 'date', ...pick('to') }))))), list.node);
  apply();
}
