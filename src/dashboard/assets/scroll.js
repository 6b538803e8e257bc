// A list that grows as it is scrolled, by the API's cursors.

import { get } from './api.js';
import { button, clear, failed, h, loading } from './ui.js';
import { count } from './words.js';

/** Shows `path` as rows. `make()` gives `{node, add(items)}`; `blank` what stands where nothing is. Answers `{node, load}`. */
export function endless(path, { make, blank, signal, limit = 50, onItems }) {
  const node = h('div', { class: 'card' });
  const status = h('div', { class: 'more', role: 'status' });
  let turn = 0;
  let cursor = null;
  let shown = 0;
  let busy = false;
  let query = {};
  let rows = null;

  const fetchPage = async () => {
    if (busy) return;
    busy = true;
    const mine = turn;
    clear(status, shown ? h('span', { class: 'muted small' }, 'Loading more…') : null);
    try {
      const answer = await get(path, { ...query, limit, cursor }, signal);
      if (mine !== turn || signal.aborted) return;
      cursor = answer.next_cursor;
      shown += answer.items.length;
      onItems?.(answer);
      if (!shown) {
        clear(node, blank(query));
        return;
      }
      if (!rows) {
        rows = make();
        clear(node, rows.node, status);
        watcher.observe(status);
      }
      rows.add(answer.items);
      clear(status, cursor ? button('Show more', { small: true, tone: 'quiet', onclick: fetchPage }) : h('span', { class: 'muted small' }, `${count(shown, 'entry', 'entries')}`));
    } catch (error) {
      if (mine !== turn || signal.aborted || error.name === 'AbortError') return;
      if (shown) clear(status, button('Loading failed. Try again', { small: true, onclick: fetchPage }));
      else clear(node, failed(error, () => load(query)));
    } finally {
      if (mine === turn) {
        busy = false;
        // A short page may leave the end in sight.
        if (cursor && shown && status.getBoundingClientRect().top < innerHeight) setTimeout(fetchPage, 50);
      }
    }
  };
  const watcher = new IntersectionObserver((entries) => {
    if (cursor && entries.some((entry) => entry.isIntersecting)) fetchPage();
  }, { rootMargin: '300px' });
  signal.addEventListener('abort', () => watcher.disconnect());

  const load = (next = {}) => {
    turn += 1;
    busy = false;
    query = next;
    cursor = null;
    shown = 0;
    rows = null;
    clear(node, loading(8));
    return fetchPage();
  };
  return { node, load };
}
