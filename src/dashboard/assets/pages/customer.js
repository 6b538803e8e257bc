// One customer: what is known, the appointments, the calls; and being forgotten.

import { get, may, patch, post } from '../api.js';
import { attempt, button, card, dialog, fillFrom, form, h, head, navigate, pill, toast } from '../ui.js';
import { TONES, count, dateShort, minuteClock, minuteOf, phone, plain } from '../words.js';
import { callTable } from './calls.js';
import { customerFields, orNull } from './customers.js';

export default async function page(view, { params, signal }) {
  const id = params.id;
  await fillFrom(view, async () => {
    const [customer, calls] = await Promise.all([get(`/api/customers/${id}`, null, signal), get('/api/calls', { customer: id, limit: 20 }, signal)]);
    const appointments = await get('/api/appointments', { customer: id, limit: 100 }, signal);
    return { customer, calls, appointments: appointments.items };
  }, (data) => show(data, id), { signal, lines: 8, whole: true });
}

function show({ customer, calls, appointments }, id) {
  const edit = may('call')
    ? form([customerFields(customer)], async (values) => {
      Object.assign(customer, await patch(`/api/customers/${id}`, orNull(values)));
      toast('Saved');
    })
    : h('dl', { class: 'facts' }, ['name', 'phone', 'email', 'notes'].flatMap((k) => [h('dt', null, plain(k)), h('dd', null, customer[k] ?? '–')]));
  const rows = callTable({ of: customer });
  rows.add(calls.items);
  const visits = [...appointments].sort((a, b) => `${b.date}${b.time}`.localeCompare(`${a.date}${a.time}`));
  return [
    head(customer.name || phone(customer.phone), {
      back: { href: '/customers', label: 'Customers' }, under: customer.name && customer.phone ? phone(customer.phone) : null,
      actions: [
        may('call') && customer.phone && h('a', { class: 'button', href: `/outbound?to=${encodeURIComponent(customer.phone)}` }, 'Call'),
        may('call') && h('a', { class: 'button', href: `/calendar?customer=${id}` }, 'New appointment'),
        may('admin') && button('Erase', { tone: 'danger', onclick: () => erase(id, customer) }),
      ].filter(Boolean),
    }),
    h('div', { class: 'call-grid' },
      h('div', { class: 'stack' }, h('section', { class: 'card' }, h('header', null, h('h2', null, 'Calls'), h('a', { class: 'small', href: `/calls?q=${encodeURIComponent(customer.phone ?? '')}` }, 'All')),
        calls.items.length ? rows.node : h('div', { class: 'state slim' }, 'No calls yet'))),
      h('div', { class: 'stack' }, card('Details', edit),
        card('Appointments', visits.length ? h('ul', { class: 'plain-list' }, visits.map((a) => h('li', { class: 'row apart' },
          h('a', { href: `/calendar?date=${a.date}` }, `${dateShort(a.date)}, ${minuteClock(minuteOf(a.time))}`), h('span', { class: 'muted cut' }, `${a.service} · ${a.staff}`), pill(plain(a.status), TONES[a.status]))))
          : h('p', { class: 'muted' }, 'None yet')))),
  ];
}

/** What a dry run says would go, as lines. */
function losses(report) {
  const kinds = [['calls', 'call'], ['turns', 'entry of a transcript', 'entries of transcripts'], ['events', 'note of a call', 'notes of calls'], ['messages', 'message'], ['recordings', 'recording'], ['appointments', 'appointment']];
  return kinds.filter(([key]) => report[key] > 0).map(([key, one, many]) => count(report[key], one, many));
}

async function erase(id, customer) {
  const { ok, result } = await attempt(() => post(`/api/customers/${id}/erase?dry_run=true`));
  if (!ok) return;
  const lines = losses(result);
  await dialog('Erase this person?', (close) => h('div', { class: 'form' },
    h('p', null, `Everything that identifies ${customer.name || phone(customer.phone)} is removed for good:`),
    lines.length ? h('ul', { class: 'bullets' }, lines.map((line) => h('li', null, line))) : h('p', { class: 'muted' }, 'The entry itself; nothing else is stored.'),
    h('p', { class: 'muted' }, 'Calls and appointments stay in the numbers, without a name.'),
    h('p', { class: 'note warn' }, 'This cannot be undone.'),
    h('div', { class: 'buttons' }, button('Cancel', { onclick: () => close() }), button('Erase for good', { tone: 'danger', onclick: async () => {
      const done = await attempt(() => post(`/api/customers/${id}/erase?dry_run=false`), 'The person is erased');
      close();
      if (done.ok) navigate('/customers');
    } }))));
}

