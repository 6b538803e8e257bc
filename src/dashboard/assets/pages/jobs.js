// What is done after calls and by itself, and what could not be done.

import { may, post, remove } from '../api.js';
import { attempt, button, confirm, empty, h, head, pill, segments, setQuery, table } from '../ui.js';
import { plain, when } from '../words.js';
import { endless } from '../scroll.js';

const TONE = { dead: 'bad', leased: 'accent', done: 'good' };
const STATES = { queued: 'waiting', leased: 'running', dead: 'given up' };
const KINDS = { summary: 'Summary of a call', callback: 'Call-back after a call', retention: 'Removal of what is old enough' };

/** What it is about: the call, where there is one. */
function what(job) {
  const [, sid] = /:(\w{6,})$/.exec(job.key) ?? [];
  return sid && job.kind !== 'retention' ? h('a', { class: 'small', href: `/calls/${sid}` }, 'The call') : null;
}

export default async function page(view, { query, signal }) {
  let state = query.get('state') ?? '';
  const list = endless('/api/jobs', {
    signal,
    make: () => {
      const node = table([
        { title: 'What', kind: 'first', cell: (j) => h('div', { class: 'two' }, h('b', null, KINDS[j.kind] ?? plain(j.kind)), what(j)) },
        { title: 'State', cell: (j) => pill(plain(STATES[j.state] ?? j.state), TONE[j.state]) },
        { title: 'Tries', kind: 'num', cell: (j) => j.attempts },
        { title: 'Next try', kind: 'nowrap', cell: (j) => when(j.next_run_at) },
        { title: 'What went wrong', kind: 'clip', cell: (j) => (j.last_error ? h('div', { class: 'mono muted' }, j.last_error) : null) },
        { title: 'Since', kind: 'nowrap muted', cell: (j) => when(j.created_at) },
        { title: '', kind: 'tools', cell: (j) => j.state !== 'done' && may('call') && h('div', { class: 'row' },
          button('Retry', { small: true, onclick: () => act(() => post(`/api/jobs/${j.id}/retry`), 'It is tried again') }),
          may('admin') && button('Discard', { small: true, tone: 'danger', onclick: async () => { if (await confirm('Discard this?', 'It will not be tried again.', 'Discard')) await act(() => remove(`/api/jobs/${j.id}`), 'Discarded'); } })) },
      ], { label: 'Background work' });
      return { node, add: node.add };
    },
    blank: () => (state === 'dead' ? empty('Nothing has failed for good', 'What could not be done is kept here until somebody tries it again or discards it.') : empty('Nothing is waiting', 'Summaries and clean-ups are done as they come.')),
  });
  const load = () => list.load({ state });
  const act = async (work, done) => { if ((await attempt(work, done)).ok) load(); };
  view.append(head('Background work', { under: 'What is done by itself after calls: summaries, call-backs, removing what is old.', actions: [button('Refresh', { onclick: load }, 'retry')] }),
    h('div', { class: 'filters' }, segments('State', [['', 'All'], ['queued', 'Waiting'], ['leased', 'Running'], ['dead', 'Given up'], ['done', 'Done']], state, (value) => { state = value; setQuery({ state }); load(); })), list.node);
  load();
}
