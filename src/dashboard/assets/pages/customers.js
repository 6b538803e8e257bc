// Everybody the business knows.

import { may, post } from '../api.js';
import { button, dialog, empty, field, form, h, head, icon, input, navigate, setQuery, settled, table, textarea } from '../ui.js';
import { phone, when } from '../words.js';
import { endless } from '../scroll.js';

/** The fields of a customer; empty ones are null. */
export function customerFields(known = {}) {
  return h('div', { class: 'fields' },
    field('Name', input('name', { value: known.name ?? '', maxlength: 120 }), { full: true }),
    field('Phone', input('phone', { type: 'tel', value: known.phone ?? '', placeholder: '+12025550143' }), { hint: 'With country code' }),
    field('E-mail', input('email', { type: 'email', value: known.email ?? '' })),
    field('Notes', textarea('notes', { value: known.notes ?? '', maxlength: 4000 }), { full: true }));
}

export const orNull = (values) => Object.fromEntries(Object.entries(values).map(([k, v]) => [k, v.trim() === '' ? null : v.trim()]));
export const given = (values) => Object.fromEntries(Object.entries(orNull(values)).filter(([, v]) => v !== null));

export default async function page(view, { query, signal }) {
  const words = query.get('q') ?? '';
  const list = endless('/api/customers', {
    signal,
    make: () => {
      const node = table([
        { title: 'Name', kind: 'first', cell: (c) => h('a', { class: 'strong', href: `/customers/${c.id}` }, c.name || 'No name yet') },
        { title: 'Phone', kind: 'nowrap num', cell: (c) => (c.phone ? phone(c.phone) : h('span', { class: 'muted' }, '–')) },
        { title: 'E-mail', cell: (c) => c.email },
        { title: 'Notes', kind: 'clip', cell: (c) => (c.notes ? h('div', { class: 'muted' }, c.notes) : null) },
        { title: 'Last change', kind: 'nowrap muted', cell: (c) => when(c.updated_at) },
      ], { label: 'Customers', open: (c) => `/customers/${c.id}` });
      return { node, add: node.add };
    },
    blank: (q) => (q.q ? empty('Nobody matches', 'Search by name, number or e-mail address.') : empty('No customers yet', 'Callers who leave their name or number appear here by themselves.')),
  });
  const exported = h('a', { class: 'button', href: '/api/export/customers.csv', download: '', title: 'As a table, for spreadsheets' }, icon('download'), 'Export');
  const add = may('call') && button('New customer', { tone: 'main', onclick: () => dialog('New customer', (close) => form([customerFields()], async (values) => {
    const made = await post('/api/customers', given(values));
    close();
    navigate(`/customers/${made.id}`);
  }, { label: 'Add customer', cancel: () => close() })) }, 'plus');
  const typed = settled((value) => {
    setQuery({ q: value });
    list.load({ q: value });
  });
  view.append(head('Customers', { actions: [exported, add].filter(Boolean) }),
    h('div', { class: 'filters' }, h('div', { class: 'grow' }, input('q', { type: 'search', placeholder: 'Name, number or e-mail', 'aria-label': 'Search customers', value: words, oninput: (e) => typed(e.target.value.trim()) }))),
    list.node);
  list.load({ q: words });
}
