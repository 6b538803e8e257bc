// How many calls, how they ended, how fast the answers came, which vendors failed: charts that the server draws.

import { address, get } from '../api.js';
import { card, clear, failed, h, head, input, segments, setQuery, settled } from '../ui.js';
import { addDays, dateShort, isoDate, length, millis, money } from '../words.js';

const CHARTS = [
  ['volume', 'Calls over time', 'How many calls came in and went out'], ['outcomes', 'What calls achieved', 'Appointments, messages, transfers, and calls that failed'],
  ['latency', 'How fast answers came', 'From the caller’s last word to the first sound'], ['errors', 'What failed', 'By the part that failed'],
];

const dark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
};

export default async function page(view, { query, signal }) {
  const today = isoDate();
  const range = { from: query.get('from') ?? addDays(today, -13), to: query.get('to') ?? today };
  const from = input('from', { type: 'date', onchange: (e) => go({ from: e.target.value }) });
  const to = input('to', { type: 'date', onchange: (e) => go({ to: e.target.value }) });
  const tiles = h('div', { class: 'tiles' });
  const charts = h('div', { class: 'grid-2' });
  const bucket = () => (range.from === range.to || addDays(range.from, 1) >= range.to ? 'hour' : 'day');
  view.append(head('Analytics'), h('div', { class: 'filters' },
    segments('Range', [['1', 'Today'], ['7', '7 days'], ['14', '14 days'], ['30', '30 days'], ['90', '90 days']], query.get('from') ? '' : '14', (days) => go({ from: addDays(today, 1 - Number(days)), to: today })),
    h('span', { class: 'spans' }, h('label', { class: 'span' }, 'From', from), h('label', { class: 'span' }, 'to', to))), tiles, charts);

  // Charts are drawn as wide as they are shown, so that their letters are as large as the page's.
  const wide = () => {
    const columns = getComputedStyle(charts).gridTemplateColumns.split(' ').map(parseFloat);
    return Math.min(1200, Math.max(240, Math.floor((columns[0] || charts.clientWidth || 560) - 34)));
  };
  let drawn = 0;
  const draw = async () => {
    from.value = range.from;
    to.value = range.to;
    const holders = CHARTS.map(() => h('div', { class: 'chart-box' }));
    clear(charts, CHARTS.map(([, title, text], i) => card(title, [h('p', { class: 'muted small' }, text), holders[i]])));
    drawn = wide();
    CHARTS.forEach(([name, title, text], i) => {
      const holder = holders[i];
      const image = h('img', { class: 'chart', alt: `${title}: ${text}, ${dateShort(range.from)} to ${dateShort(range.to)}`, width: drawn, height: 250, src: address(`/api/charts/${name}.svg`, { ...range, theme: dark() ? 'dark' : 'light', width: drawn }) });
      image.addEventListener('error', () => clear(holder, failed({ message: 'The chart cannot be drawn at the moment.' }, draw)));
      holder.append(image);
    });
    try {
      const [data, costs] = await Promise.all([get('/api/analytics', { ...range, bucket: bucket() }, signal), get('/api/costs', range, signal)]);
      clear(tiles, [...summary(data), ['Cost', money(costs.total, costs.currency, 2)]].map(([label, value]) => h('div', { class: 'tile' }, h('div', { class: 'label' }, label), h('div', { class: 'value' }, value))));
    } catch (error) {
      if (error.name !== 'AbortError') clear(tiles, h('div', { class: 'note bad', role: 'alert' }, error.message));
    }
  };
  const go = (change) => {
    Object.assign(range, change);
    if (!range.from || !range.to) return;
    setQuery(range);
    draw();
  };
  const sized = new ResizeObserver(settled(() => { if (!signal.aborted && Math.abs(wide() - drawn) > 8) draw(); }));
  sized.observe(charts);
  signal.addEventListener('abort', () => sized.disconnect());
  addEventListener('theme', draw, { signal });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw, { signal });
  await draw();
}

/** The numbers above the charts. */
function summary({ total }) {
  const answers = total.latency.first_sent_ms;
  return [
    ['Calls', total.calls.toLocaleString('en-US')], ['Booked in calls', total.calls_booked.toLocaleString('en-US')],
    ['Time on the line', total.calls ? length(total.duration_s) : '–'], ['Average length', total.calls ? length(total.duration_s / total.calls) : '–'],
    ['Half the answers within', answers?.p50_ms ? millis(answers.p50_ms) : '–'], ['95 % of them within', answers?.p95_ms ? millis(answers.p95_ms) : '–'],
  ];
}
