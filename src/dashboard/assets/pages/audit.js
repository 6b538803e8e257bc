// What staff did, and when.

import { empty, h, head, table } from '../ui.js';
import { clockSeconds, dayAndTime, plain } from '../words.js';
import { endless } from '../scroll.js';

export default async function page(view, { signal }) {
  const list = endless('/api/audit', {
    signal,
    make: () => {
      const node = table([
        { title: 'When', kind: 'nowrap num', cell: (e) => h('span', { title: clockSeconds(e.at) }, dayAndTime(e.at)) },
        { title: 'Who', cell: (e) => h('div', { class: 'two' }, h('b', null, e.who.name), h('span', null, plain(e.who.kind))) },
        { title: 'Did', cell: (e) => h('span', { class: 'mono' }, e.action) },
        { title: 'To', cell: (e) => e.target },
        { title: 'Details', kind: 'clip', cell: (e) => (e.detail && Object.keys(e.detail).length ? h('div', { class: 'mono muted' }, JSON.stringify(e.detail)) : null) },
      ], { label: 'Audit trail' });
      return { node, add: node.add };
    },
    blank: (q) => empty(Object.values(q).some(Boolean) ? 'Nothing matches' : 'Nothing was done yet', 'Every change that staff make and every key they use to make it is listed here.'),
  });
  view.append(head('Audit trail', { under: 'Nothing can be changed or removed here.' }), list.node);
  list.load({});
}

