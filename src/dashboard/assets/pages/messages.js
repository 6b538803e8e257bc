// Messages callers left and call-backs that are due.

import { may, patch } from '../api.js';
import { announce, attempt, button, clear, empty, h, head, icon, pill, segments, select, setQuery } from '../ui.js';
import { ago, full, phone } from '../words.js';
import { endless } from '../scroll.js';

export default async function page(view, { query, signal }) {
  let which = query.get('show') ?? 'open';
  let kind = query.get('kind') ?? '';
  const list = endless('/api/messages', {
    signal,
    make: () => {
      const node = h('ul', { class: 'message-list' });
      return { node, add: (items) => node.append(...items.map(line)) };
    },
    blank: () => (which === 'open' && !kind ? empty('Nothing is waiting', 'Messages and call-backs that callers ask for are listed here until somebody has seen to them.') : empty(which === 'open' ? 'Nothing is waiting' : 'There is none of these')),
  });
  const load = () => list.load({ state: which === 'all' ? '' : which, kind });
  view.append(head('Messages and call-backs'), h('div', { class: 'filters' }, segments('Show', [['open', 'Open'], ['done', 'Done'], ['all', 'All']], which, (value) => {
    which = value;
    setQuery({ show: value });
    load();
  }), select('kind', [['', 'Both kinds'], ['message', 'Messages'], ['call-back', 'Call-backs']], { 'aria-label': 'Kind', value: kind, onchange: (event) => {
    kind = event.target.value;
    setQuery({ kind });
    load();
  } })), list.node);
  load();

  function line(m) {
    const node = h('li');
    const draw = () => clear(node, h('div', { class: `message ${m.done ? 'done' : ''}` },
      h('div', { class: 'grow' },
        h('div', { class: 'row' }, h('b', null, m.name || phone(m.phone)), m.kind === 'call-back' && pill('Call-back', 'accent'), m.name && m.phone && h('span', { class: 'muted' }, phone(m.phone)), h('span', { class: 'muted small', title: full(m.created_at) }, ago(m.created_at))),
        h('p', null, m.text),
        m.done && m.done_at && h('p', { class: 'small muted' }, `Done ${ago(m.done_at)}${m.done_by ? ` by ${m.done_by}` : ''}`)),
      h('div', { class: 'row' },
        m.call_id && h('a', { class: 'button small quiet', href: `/calls/${m.call_id}` }, 'The call'),
        may('call') && m.phone && h('a', { class: 'button small', href: `/outbound?to=${encodeURIComponent(m.phone)}&purpose=${encodeURIComponent('Return their call')}` }, icon('calls'), 'Call back'),
        may('call') && button(m.done ? 'Open again' : 'Done', { small: true, tone: m.done ? 'quiet' : 'main', onclick: async () => {
          const { ok, result } = await attempt(() => patch(`/api/messages/${m.id}`, { done: !m.done }));
          if (!ok) return;
          m = { ...m, ...(result ?? {}), done: result?.done ?? !m.done };
          announce(m.done ? 'Marked as done' : 'Open again');
          draw();
          node.querySelector('button')?.focus();
          dispatchEvent(new Event('messages'));
        } }, m.done ? undefined : 'check'))));
    draw();
    return node;
  }
}

