// How many calls, how they ended, how fast the answers came, which vendors failed: charts that the server draws.

import { address, get } from '../api.js';
import { card, clear, failed, h, head, input, segments, setQuery } from '../ui.js';
import { addDays, isoDate, length, millis, money } from '../words.js';

const CHARTS = [
  ['volume', 'Calls over time', 'How many calls came in and went out'], ['outcomes', 'What calls achieved', 'Appointments, leads, messages and transfers'],
  ['latency', 'How fast answers came', 'From the end of the caller’s turn to the first sound'], ['errors', 'Vendors’ errors', 'Failures by vendor'],
];

const dark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
};

export default async function page(view, { query, signal }) {
  const today = isoDate();
  const range = { from: query.get('from') ?? addDays(today, -13), to: query.get('to') ?? today };
  const from = input('from', { type: 'date', 'aria-label': 'From', onchange: (e) => go({ from: e.target.value }) });
  const to = input('to', { type: 'date', 'aria-label': 'To', onchange: (e) => go({ to: e.target.value }) });
  const tiles = h('div', { class: 'tiles' });
  const charts = h('div', { class: 'grid-2' });
  const bucket = () => (range.from === range.to || addDays(range.from, 1) >= range.to ? 'hour' : 'day');
  view.append(head('Analytics'), h('div', { class: 'filters' },
    segments('Range', [['1', 'Today'], ['7', '7 days'], ['14', '14 days'], ['30', '30 days'], ['90', '90 days']], query.get('from') ? '' : '14', (days) => go({ from: addDays(today, 1 - Number(days)), to: today })), from, to), tiles, charts);

  const draw = async () => {
    from.value = range.from;
    to.value = range.to;
    clear(charts, CHARTS.map(([name, title, text]) => {
      const image = h('img', { class: 'chart', alt: `${title}: ${text}, ${range.from} to ${range.to}`, width: 560, height: 260, src: address(`/api/charts/${name}.svg`, { ...range, theme: dark() ? 'dark' : 'light' }) });
      const holder = h('div', { class: 'chart-box' }, image);
      image.addEventListener('error', () => clear(holder, failed({ message: 'The chart cannot be drawn at the moment.' }, draw)));
      return card(title, [h('p', { class: 'muted small' }, text), holder]);
    }));
    try {
      const [data, costs] = await Promise.all([get('/api/analytics', { ...range, bucket: bucket() }, signal), get('/api/costs', range, signal)]);
      clear(tiles, [...summary(data), ['Cost', money(costs.total, costs.currency)]].map(([label, value]) => h('div', { class: 'tile' }, h('div', { class: 'label' }, label), h('div', { class: 'value' }, value))));
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
    ['Answer time, median', answers?.p50_ms ? millis(answers.p50_ms) : '–'], ['Answer time, 95 %', answers?.p95_ms ? millis(answers.p95_ms) : '–'],
  ];
}
