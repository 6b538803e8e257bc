// Everything that matches some words: calls by what was said in them, and customers.

import { get } from '../api.js';
import { card, empty, fillFrom, h, head, input, navigate } from '../ui.js';
import { length, phone, when } from '../words.js';
import { caller, outcomes } from './calls.js';

/** A text in which the words that were looked for are marked. */
export function marked(text, q) {
  const words = q.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return String(text ?? '').split(/([\p{L}\p{N}]+)/u).map((part) =>
    (words.some((word) => part.toLowerCase().startsWith(word)) ? h('mark', null, part) : part));
}

export default async function page(view, { query, signal }) {
  const q = (query.get('q') ?? '').trim();
  const place = h('div', { class: 'stack' });
  const again = input('words', { type: 'search', value: q, 'aria-label': 'Search again', placeholder: 'Words somebody said, a name, a number' });
  view.append(head(q ? `Results for “${q}”` : 'Search'), h('form', { class: 'filters', role: 'search', onsubmit: (event) => {
    event.preventDefault();
    navigate(`/search?q=${encodeURIComponent(again.value.trim())}`);
  } }, h('div', { class: 'grow' }, again)), place);
  if (!q) {
    place.append(h('div', { class: 'card' }, empty('What are you looking for?', 'Words somebody said, a name, a number.')));
    return;
  }
  await fillFrom(place, () => Promise.all(['call', 'customer'].map((kind) => get('/api/search', { q, kind, limit: 30 }, signal))), ([calls, customers]) => show(calls.items, customers.items, q), { signal });
}

function show(calls, customers, q) {
  if (!calls.length && !customers.length) {
    return h('div', { class: 'card' }, empty('Nothing found', `Nobody said “${q}”, and no customer is called so.`));
  }
  const list = (hits, row) => h('ul', { class: 'plain-list' }, hits.map((hit) => h('li', null, row(hit))));
  return [
    customers.length > 0 && card('Customers', list(customers, ({ id, customer: c }) => h('a', { class: 'hit', href: `/customers/${id}` }, h('b', null, marked(c.name || 'No name', q)), ' ',
      h('span', { class: 'muted' }, [c.phone && phone(c.phone), c.email].filter(Boolean).join(' · '))))),
    calls.length > 0 && card('Calls', list(calls, ({ id, call, snippet }) => h('a', { class: 'hit', href: `/calls/${id}` },
      h('div', { class: 'row' }, h('b', null, caller(call)), h('span', { class: 'muted small' }, `${when(call.started_at)} · ${length(call.duration)}`), outcomes(call)),
      h('p', { class: 'muted' }, marked(snippet, q))))),
  ].filter(Boolean);
}
