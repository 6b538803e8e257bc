// Appointments and time off, by person for a day or by day for a week; moved by dragging or by keys. On a phone, what does
// not fit side by side is a list.

import { get, getAll, may, patch, post, remove } from '../api.js';
import { announce, attempt, button, clear, confirm, dialog, failed, field, form, h, icon, iconButton, input, loading, pill, refused, segments, select, setQuery, textarea, toast } from '../ui.js';
import { addDays, business, count, dateLong, dateShort, instant, isoDate, minuteClock, minuteNow, minuteOf, minuteText, monday, phone, plain, weekdayOf } from '../words.js';
import { customerFields, given } from './customers.js';

export const wide = true;

const STEP = 15;
/** A phone: fingers need more room, and only few columns have it. */
const narrow = matchMedia('(max-width: 700px)');
const MOST_COLUMNS = 3;

const staffNames = () => (business.staff ?? []).map((s) => s.name ?? s);
const serviceNames = () => (business.services ?? []).map((s) => s.name ?? s);
const minutesOf = (name) => (business.services ?? []).find((s) => s.name === name)?.duration ?? 30;

/** The hours of a date: minutes, or null when closed. */
function hoursOf(date) {
  const hours = business.hours?.[weekdayOf(date)];
  const closed = (business.closures ?? []).some((c) => (c.date ?? c) === date);
  if (!hours || hours === 'closed' || closed) return null;
  return { open: minuteOf(hours.open), close: minuteOf(hours.close) || 1440 };
}

/** Appointments that overlap stand side by side: `[{item, lane, lanes}]`. */
export function lanes(items) {
  const out = [];
  let group = [];
  let until = -1;
  const flush = () => {
    const total = Math.max(0, ...group.map((g) => g.lane)) + 1;
    for (const one of group) out.push({ ...one, lanes: total });
    group = [];
  };
  for (const item of [...items].sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (item.start >= until) flush();
    const taken = new Set(group.filter((g) => g.item.end > item.start).map((g) => g.lane));
    let lane = 0;
    while (taken.has(lane)) lane += 1;
    group.push({ item, lane });
    until = Math.max(until, item.end);
  }
  flush();
  return out;
}

export default async function page(view, { query, signal }) {
  const state = {
    date: /^\d{4}-\d{2}-\d{2}$/.test(query.get('date') ?? '') ? query.get('date') : isoDate(),
    mode: query.get('view') === 'week' ? 'week' : 'day',
    staff: query.get('staff') ?? '',
    cancelled: false,
  };
  const place = h('div');
  const title = h('h1');
  const under = h('p');
  const jump = input('date', { type: 'date', 'aria-label': 'Go to a date', onchange: (e) => { if (e.target.value) go({ date: e.target.value }); } });
  const shift = (by) => go({ date: addDays(state.date, by * (state.mode === 'week' ? 7 : 1)) });
  const who = select('staff', [['', 'Everybody'], ...staffNames().map((n) => [n, n])], { 'aria-label': 'Person', value: state.staff, onchange: (e) => go({ staff: e.target.value }) });
  const write = may('call');
  view.append(
    h('div', { class: 'head' }, h('div', { class: 'titles' }, title, under), h('div', { class: 'actions' },
      write && button('Block time', { onclick: () => block(state, reload) }),
      write && button('New appointment', { tone: 'main', onclick: () => edit({ date: state.date, staff: state.staff || staffNames()[0] }, reload) }, 'plus'))),
    h('div', { class: 'filters' }, iconButton('Earlier', 'left', { tone: '', onclick: () => shift(-1) }), button('Today', { onclick: () => go({ date: isoDate() }) }), iconButton('Later', 'right', { tone: '', onclick: () => shift(1) }), jump,
      h('span', { class: 'break' }), segments('View', [['day', 'Day'], ['week', 'Week']], state.mode, (mode) => go({ mode })), who),
    place,
    write && h('p', { class: 'muted small keys' }, 'Drag an appointment to move it. With the keyboard: focus it, ', h('kbd', null, 'M'), ' then the arrow keys, ', h('kbd', null, 'Enter'), ' to keep, ', h('kbd', null, 'Esc'), ' to leave it where it was.'));

  let loadCount = 0;
  let seen = '';
  const go = (change) => {
    Object.assign(state, change);
    setQuery({ date: state.date, view: state.mode, staff: state.staff });
    reload();
  };
  const reload = async ({ focus } = {}) => {
    loadCount += 1;
    const mine = loadCount;
    const days = state.mode === 'week' ? Array.from({ length: 7 }, (_, i) => addDays(monday(state.date), i)) : [state.date];
    jump.value = state.date;
    title.textContent = state.mode === 'week' ? `${dateShort(days[0])} to ${dateShort(days.at(-1))}` : dateLong(state.date);
    document.title = `${title.textContent} · ${business.name}`;
    if (!place.firstChild) clear(place, loading(10));
    try {
      const range = { from: days[0], to: days.at(-1), staff: state.staff, status: 'confirmed' };
      const [appointments, off] = await Promise.all([getAll('/api/appointments', range, signal), getAll('/api/time-off', { from: range.from, to: range.to }, signal)]);
      if (mine !== loadCount || signal.aborted) return;
      const shown = appointments.items;
      // Whoever looks from another zone is told whose clock this is.
      const elsewhere = business.timezone && business.timezone !== Intl.DateTimeFormat().resolvedOptions().timeZone;
      under.textContent = `${count(shown.length, 'appointment')}${elsewhere ? ` · times of ${business.timezone.split('/').at(-1).replaceAll('_', ' ')}` : ''}`;
      // The same days stay where they were scrolled to; others begin with their first appointment.
      const what = JSON.stringify([days, state.mode, state.staff]);
      const scroll = what === seen ? place.querySelector('.cal-scroll')?.scrollTop : undefined;
      seen = what;
      const columns = columnsOf(state, days, shown);
      if (narrow.matches && columns.length > MOST_COLUMNS) {
        clear(place, agenda(state, days, shown, off.items, reload, write));
      } else {
        const grid = draw(state, columns, days, shown, off.items, reload, write);
        clear(place, grid.node);
        place.querySelector('.cal-scroll').scrollTop = scroll ?? Math.max(0, grid.focusAt - 16);
      }
      if (focus) present(place, focus);
    } catch (error) {
      if (mine !== loadCount || error.name === 'AbortError') return;
      clear(place, h('div', { class: 'card' }, failed(error, reload)));
    }
  };
  narrow.addEventListener('change', () => reload(), { signal });
  await reload();
  if (query.get('customer') && write) {
    const customer = await get(`/api/customers/${query.get('customer')}`, null, signal).catch(() => null);
    if (customer) edit({ date: state.date, staff: state.staff || staffNames()[0], customer }, reload);
  }
}

/** Gives an appointment the focus, and brings it into view if it is outside. */
function present(place, id) {
  const node = place.querySelector(`[data-appointment="${id}"]`);
  const port = place.querySelector('.cal-scroll')?.getBoundingClientRect();
  const at = node?.getBoundingClientRect();
  if (port && at && (at.top < port.top + 40 || at.bottom > port.bottom)) node.scrollIntoView({ block: 'center' });
  node?.querySelector('button')?.focus({ preventScroll: true });
}

/** What stands side by side: the days of a week, or the people of a day. */
function columnsOf(state, days, appointments) {
  if (state.mode === 'week') return days.map((date) => ({ date, staff: state.staff || null, label: dateShort(date) }));
  const people = [...new Set([...staffNames(), ...appointments.map((a) => a.staff)])].filter((n) => !state.staff || n === state.staff);
  if (!people.length) return [{ date: days[0], staff: null, label: 'Everybody' }];
  return people.map((staff) => ({ date: days[0], staff, label: staff }));
}

/** The time off of a date and a person, in minutes: all of it for nobody in particular. */
function offOn(offs, date, staff, from, to) {
  const out = [];
  for (const o of offs) {
    const [fromDate, toDate] = [localDate(o.from), localDate(o.to)];
    const concerns = !o.staff || !staff || o.staff === staff;
    if (!concerns || date < fromDate || date > toDate) continue;
    const start = date === fromDate ? minuteOf(o.from) : from;
    const end = date === toDate ? minuteOf(o.to) : to;
    if (end > start) out.push({ ...o, start: Math.max(start, from), end: Math.min(end, to) });
  }
  return out;
}

const hueOf = (staff) => `staff-${Math.max(0, staffNames().indexOf(staff)) % 5}`;

/** The same as a list, day by day. */
function agenda(state, days, appointments, offs, reload, write) {
  return h('div', { class: 'card agenda' }, days.map((date) => {
    const hours = hoursOf(date);
    const off = offOn(offs, date, state.staff, 0, 1440).map((o) => ({ start: o.start, node: h('li', { class: 'agenda-off' },
      h('span', { class: 'num' }, `${minuteClock(o.start)}`), h('span', { class: 'grow' }, `${o.reason || 'Time off'} · ${o.staff ?? 'Everybody'} · until ${minuteClock(o.end)}`),
      write && iconButton(`Remove this block: ${o.reason || 'Time off'}`, 'close', { onclick: () => unblock(o, reload) })) }));
    const booked = appointments.filter((a) => a.date === date).map((a) => ({ start: minuteOf(a.time), node: h('li', { data: { appointment: a.id } },
      h('button', { type: 'button', class: `agenda-line ${hueOf(a.staff)}`, onclick: () => edit(a, reload, !write) },
        h('span', { class: 'num' }, minuteClock(minuteOf(a.time))), h('span', { class: 'grow' }, h('b', null, who(a)), h('span', null, `${a.service} · ${a.staff} · ${a.duration} min`)))) }));
    const all = [...off, ...booked].sort((x, y) => x.start - y.start);
    const today = date === isoDate();
    return h('section', null,
      h('h2', { class: today ? 'today' : '' }, state.mode === 'week' ? dateShort(date) : 'Appointments', today && pill('Today', 'accent')),
      all.length ? h('ul', null, all.map((one) => one.node)) : h('p', { class: 'muted small' }, hours ? 'Nothing booked' : 'Closed'));
  }));
}

function draw(state, columns, days, appointments, offs, reload, write) {
  const row = narrow.matches ? 76 : 60;
  const open = days.map(hoursOf).filter(Boolean);
  const times = appointments.map((a) => minuteOf(a.time));
  const first = Math.floor(Math.min(...open.map((o) => o.open), ...times, 9 * 60) / 60) * 60;
  const last = Math.ceil(Math.max(...open.map((o) => o.close), ...appointments.map((a, i) => times[i] + a.duration), 17 * 60) / 60) * 60;
  const y = (minute) => ((minute - first) / 60) * row;
  const grid = { first, last, y, columns, nodes: [], at: (px) => first + (px / row) * 60 };
  const inColumn = (item, c) => item.date === c.date && (!c.staff || item.staff === c.staff);

  const hourLabels = [];
  for (let m = first; m <= last; m += 60) hourLabels.push(h('span', { css: { top: `${y(m)}px` } }, m === last ? '' : minuteClock(m).replace(':00', '')));
  const today = isoDate();
  const columnNodes = columns.map((c) => {
    const hours = hoursOf(c.date);
    const node = h('div', { class: `cal-column ${c.date === today ? 'today' : ''}`, role: 'list', 'aria-label': state.mode === 'week' ? dateLong(c.date) : c.label, css: { height: `${y(last)}px` } });
    const shade = (from, to, text) => from < to && node.append(h('div', { class: 'cal-closed', css: { top: `${y(from)}px`, height: `${y(to) - y(from)}px` } }, text));
    if (!hours) shade(first, last, 'Closed');
    else {
      shade(first, hours.open);
      shade(hours.close, last);
    }
    for (const o of offOn(offs, c.date, c.staff, first, last)) {
      node.append(h('div', { class: 'cal-off', role: 'listitem', css: { top: `${y(o.start)}px`, height: `${Math.max(18, y(o.end) - y(o.start) - 2)}px` } },
        h('span', { class: 'cut' }, o.reason || 'Time off', state.mode === 'week' && o.staff && !state.staff ? ` · ${o.staff}` : ''),
        write && iconButton(`Remove this block: ${o.reason || 'Time off'}`, 'close', { small: true, onclick: () => unblock(o, reload) })));
    }
    const items = appointments.filter((a) => inColumn(a, c)).map((a) => ({ a, start: minuteOf(a.time), end: minuteOf(a.time) + a.duration }));
    for (const { item, lane, lanes: total } of lanes(items)) {
      node.append(block1(item.a, { top: y(item.start), height: y(item.end) - y(item.start), left: lane / total, width: 1 / total }, state, grid, reload, write));
    }
    if (c.date === today && minuteNow() > first && minuteNow() < last) node.append(h('div', { class: 'cal-now', css: { top: `${y(minuteNow())}px` } }));
    if (write) {
      node.addEventListener('dblclick', (event) => {
        if (event.target !== node && !event.target.classList.contains('cal-closed')) return;
        const minute = Math.floor(grid.at(event.clientY - node.getBoundingClientRect().top) / STEP) * STEP;
        edit({ date: c.date, time: minuteText(minute), staff: c.staff ?? staffNames()[0] }, reload);
      });
    }
    grid.nodes.push(node);
    return h('div', { class: 'cal-track' }, h('div', { class: `cal-head ${c.date === today && state.mode === 'week' ? 'today' : ''}` }, c.label), node);
  });
  const node = h('div', { class: `card calendar ${state.mode}` }, h('div', { class: 'cal-scroll', tabindex: '-1' },
    h('div', { class: 'cal-inner', css: { '--columns': columns.length, '--row': `${row}px` } }, h('div', { class: 'cal-side' }, h('div', { class: 'cal-head' }), h('div', { class: 'cal-hours', css: { height: `${y(last)}px` } }, hourLabels)), columnNodes)));
  return { node, focusAt: y(opening(days, appointments, open[0]?.open ?? Math.max(first, MORNING))) };
}

/** Where a day begins on which nobody works, minutes. */
const MORNING = 8 * 60;

/** The minute with which a calendar opens: the first appointment; on the day itself, the first that is not over. */
function opening(days, appointments, otherwise) {
  const now = minuteNow();
  const begins = appointments.map((a) => minuteOf(a.time));
  if (days.length > 1 || days[0] !== isoDate()) return begins.length ? Math.min(...begins) : otherwise;
  const left = begins.filter((start, i) => start + appointments[i].duration > now);
  return left.length ? Math.min(...left, Math.max(now, otherwise)) : Math.max(otherwise, now);
}

const localDate = (time) => (time ?? '').slice(0, 10);
const who = (a) => a.customer_name ?? (a.customer_id ? `Customer ${a.customer_id}` : 'Without a name');

function block1(a, box, state, grid, reload, write) {
  const start = minuteOf(a.time);
  const label = `${who(a)}, ${a.service} with ${a.staff}, ${minuteClock(start)}, ${a.duration} minutes`;
  const node = h('div', {
    class: `cal-block ${hueOf(a.staff)} ${box.height < 42 ? 'low' : ''}`, role: 'listitem', data: { appointment: a.id },
    css: { top: `${box.top}px`, height: `${Math.max(24, box.height - 2)}px`, left: `calc(${box.left * 100}% + 3px)`, width: `calc(${box.width * 100}% - 6px)` },
  });
  const inside = h('button', { type: 'button', class: 'cal-inside', 'aria-label': label, 'aria-keyshortcuts': write ? 'M' : null },
    h('b', { class: 'cut' }, who(a)), h('span', { class: 'cut' }, `${minuteClock(start)} · ${a.service}`), state.mode === 'week' && !state.staff && box.height >= 56 && h('span', { class: 'cut' }, a.staff));
  node.title = label;
  node.append(inside);
  if (!write) {
    inside.addEventListener('click', () => edit(a, reload, true));
    return node;
  }

  let home = null;
  let moved = null;
  const columnOf = (c) => grid.columns.findIndex((g) => g.date === c.date && (!g.staff || g.staff === c.staff));
  const show = (to) => {
    const i = columnOf(to);
    grid.nodes[i]?.append(node);
    node.style.setProperty('top', `${grid.y(to.minute)}px`);
    node.style.setProperty('left', '3px');
    node.style.setProperty('width', 'calc(100% - 6px)');
    inside.children[1].textContent = `${minuteClock(to.minute)} · ${a.service}`;
  };
  const clampMinute = (m) => Math.min(grid.last - a.duration, Math.max(grid.first, m));
  const back = () => {
    node.classList.remove('moving');
    home.parent.append(node);
    for (const [name, value] of Object.entries(home.css)) node.style.setProperty(name, value);
    inside.children[1].textContent = `${minuteClock(start)} · ${a.service}`;
    moved = null;
  };
  const begin = () => {
    home = { parent: node.parentElement, css: { top: node.style.top, left: node.style.left, width: node.style.width } };
    moved = { date: a.date, staff: a.staff, minute: start };
    node.classList.add('moving');
  };
  const keep = async () => {
    const to = moved;
    node.classList.remove('moving');
    if (!to || (to.date === a.date && to.staff === a.staff && to.minute === start)) {
      back();
      return;
    }
    moved = null;
    node.classList.add('saving');
    try {
      await patch(`/api/appointments/${a.id}`, { date: to.date, time: minuteText(to.minute), staff: to.staff });
      const was = { date: a.date, time: a.time, staff: a.staff };
      const text = `Moved to ${dateShort(to.date)}, ${minuteClock(to.minute)} with ${to.staff}`;
      toast(text, { action: { label: 'Undo', run: async () => { await attempt(() => patch(`/api/appointments/${a.id}`, was), 'Moved back'); reload({ focus: a.id }); } } });
      announce(text);
    } catch (error) {
      toast(error.message, { bad: true });
      announce(`Not moved: ${error.message}`);
    }
    reload({ focus: a.id });
  };

  // By pointer.
  let dragged = false;
  inside.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || moved) return;
    const from = { x: event.clientX, y: event.clientY };
    const grip = event.clientY - node.getBoundingClientRect().top;
    dragged = false;
    const touch = event.pointerType === 'touch';
    const hold = touch ? setTimeout(() => { dragged = true; begin(); }, 350) : 0;
    const move = (e) => {
      if (!dragged) {
        if (Math.hypot(e.clientX - from.x, e.clientY - from.y) < 5) return;
        // A finger that moves at once scrolls; one that rests first drags.
        if (touch) { stop(); return; }
        dragged = true;
        begin();
      }
      e.preventDefault();
      let column = grid.nodes.findIndex((n) => { const r = n.getBoundingClientRect(); return e.clientX >= r.left && e.clientX < r.right; });
      if (column < 0) column = columnOf(moved);
      const top = e.clientY - grip - grid.nodes[column].getBoundingClientRect().top;
      const target = grid.columns[column];
      moved = { date: target.date, staff: target.staff ?? a.staff, minute: clampMinute(Math.round(grid.at(top) / STEP) * STEP) };
      show(moved);
    };
    const stop = () => {
      clearTimeout(hold);
      removeEventListener('pointermove', move);
      removeEventListener('pointerup', drop);
      removeEventListener('pointercancel', cancel);
      removeEventListener('touchmove', still);
    };
    const drop = () => { stop(); if (dragged) keep(); };
    const cancel = () => { stop(); if (dragged && home) back(); };
    const still = (e) => { if (dragged) e.preventDefault(); };
    addEventListener('pointermove', move);
    addEventListener('pointerup', drop);
    addEventListener('pointercancel', cancel);
    addEventListener('touchmove', still, { passive: false });
  });
  inside.addEventListener('click', () => { if (!dragged && !moved) edit(a, reload); dragged = false; });

  // By keys.
  inside.addEventListener('keydown', (event) => {
    if (!moved) {
      if (event.key.toLowerCase() !== 'm' || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      begin();
      announce('Moving. Arrow keys change the time and the column, Enter keeps, Escape leaves it where it was.');
      return;
    }
    const by = { ArrowUp: [-STEP, 0], ArrowDown: [STEP, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (by) {
      const column = Math.min(grid.columns.length - 1, Math.max(0, columnOf(moved) + by[1]));
      const target = grid.columns[column];
      moved = { date: target.date, staff: target.staff ?? a.staff, minute: clampMinute(moved.minute + by[0]) };
      show(moved);
      inside.focus();
      announce(`${minuteClock(moved.minute)}, ${state.mode === 'week' ? dateShort(moved.date) : moved.staff}`);
    } else if (event.key === 'Enter') keep();
    else if (event.key === 'Escape') { back(); inside.focus(); announce('Left where it was'); } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  inside.addEventListener('blur', () => setTimeout(() => { if (moved && !node.contains(document.activeElement) && !dragged) back(); }, 0));
  return node;
}

function edit(a, reload, readOnly = false) {
  const isNew = !a.id;
  return dialog(isNew ? 'New appointment' : who(a), (close) => {
    const service = select('service', serviceNames().length ? [...new Set([...(a.service ? [a.service] : []), ...serviceNames()])] : [a.service ?? 'Appointment'], { value: a.service ?? serviceNames()[0] });
    const staff = select('staff', [...new Set([...(a.staff ? [a.staff] : []), ...staffNames()])], { value: a.staff ?? staffNames()[0] });
    const date = input('date', { type: 'date', value: a.date, required: true });
    const time = input('time', { type: 'time', step: 300, value: a.time ?? '', required: true });
    const duration = input('duration', { type: 'number', min: 5, max: 600, step: 5, value: a.duration ?? minutesOf(service.value) });
    const notes = textarea('notes', { value: a.notes ?? '' });
    service.addEventListener('change', () => { duration.value = minutesOf(service.value); offer(); });
    const free = h('div', { class: 'row free', 'aria-live': 'polite' });
    const offer = async () => {
      if (readOnly || !date.value) return;
      const answer = await get('/api/availability', { service: service.value, date: date.value, staff: staff.value }).catch(() => null);
      const slots = (answer?.items ?? []).filter((s) => s.staff === staff.value).slice(0, 10);
      clear(free, slots.length ? h('span', { class: 'small muted' }, 'Free:') : answer && h('span', { class: 'small muted' }, 'No free time for this service on that day'),
        slots.map((s) => {
          return button(minuteClock(minuteOf(s.time)), { small: true, onclick: () => { time.value = s.time; } });
        }));
    };
    for (const control of [staff, date]) control.addEventListener('change', offer);
    offer();
    const parts = [
      h('div', { class: 'fields' }, isNew ? customerPicker(a.customer) : h('div', { class: 'full row' }, a.customer_id && h('a', { class: 'button small', href: `/customers/${a.customer_id}`, onclick: () => close() }, 'Customer'), pill(plain(a.status)), a.call_sid && h('a', { class: 'button small', href: `/calls/${a.call_sid}`, onclick: () => close() }, 'Booked in this call')),
        field('Service', service), field('Person', staff), field('Date', date), field('Time', time), field('Minutes', duration), field('Notes', notes, { full: true })),
      free,
    ];
    if (readOnly) {
      for (const control of [service, staff, date, time, duration, notes]) control.disabled = true;
      return h('div', { class: 'form' }, parts);
    }
    const node = form(parts, async (values) => {
      const body = { service: values.service, staff: values.staff, date: values.date, time: values.time, duration: Number(values.duration) };
      if (values.notes.trim() || a.notes) body.notes = values.notes.trim() || null;
      if (isNew) {
        if (values.customer_words.trim() && !values.customer_id) throw refused('customer_id', 'Choose somebody from the list, or add a new customer.');
        if (values.customer_id) body.customer_id = Number(values.customer_id);
        const made = await post('/api/appointments', body);
        close();
        toast('The appointment is made');
        reload({ focus: made?.id });
      } else {
        await patch(`/api/appointments/${a.id}`, body);
        close();
        toast('Saved');
        reload({ focus: a.id });
      }
    }, { label: isNew ? 'Make appointment' : 'Save', cancel: () => close() });
    if (!isNew) {
      node.querySelector('.buttons').prepend(button('Cancel appointment', { tone: 'danger', onclick: async () => {
        if (!await confirm('Cancel this appointment?', `${who(a)}, ${a.service} on ${dateLong(a.date)} at ${minuteClock(minuteOf(a.time))}. The time becomes free again.`, 'Cancel appointment')) return;
        const { ok } = await attempt(() => remove(`/api/appointments/${a.id}`), 'The appointment is cancelled');
        if (ok) { close(); reload(); }
      } }));
    }
    return node;
  });
}

/** Finds a customer by name or number while one types, or makes a new one. */
function customerPicker(known) {
  const id = input('customer_id', { type: 'hidden', value: known?.id ?? '' });
  const found = h('ul', { class: 'picks', hidden: true });
  const words = input('customer_words', { placeholder: 'Name or number', value: known ? known.name ?? phone(known.phone) : '', 'aria-autocomplete': 'list' });
  let turn = 0;
  const pick = (c) => {
    id.value = c.id;
    words.value = c.name || phone(c.phone);
    found.hidden = true;
  };
  words.addEventListener('input', async () => {
    id.value = '';
    turn += 1;
    const mine = turn;
    if (words.value.trim().length < 2) { found.hidden = true; return; }
    const answer = await get('/api/customers', { q: words.value.trim(), limit: 6 }).catch(() => ({ items: [] }));
    if (mine !== turn) return;
    found.hidden = false;
    clear(found, answer.items.map((c) => h('li', null, h('button', { type: 'button', onclick: () => pick(c) }, h('b', null, c.name || 'No name'), ' ', h('span', { class: 'muted' }, c.phone ? phone(c.phone) : c.email ?? '')))),
      h('li', null, h('button', { type: 'button', onclick: () => dialog('New customer', (close) => form([customerFields(/^[+\d]/.test(words.value) ? { phone: words.value } : { name: words.value })], async (values) => {
        pick(await post('/api/customers', given(values)));
        close();
      }, { label: 'Add customer', cancel: () => close() })) }, icon('plus'), 'New customer')));
  });
  const picker = h('div', { class: 'full picker' }, field('Customer', words, { name: 'customer_id' }), id, found);
  const hide = () => { found.hidden = true; };
  // Down leads into the list and through it, Escape out of it: the dialog stays.
  picker.addEventListener('keydown', (event) => {
    if (found.hidden) return;
    const all = [words, ...found.querySelectorAll('button')];
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) all[Math.min(all.length - 1, Math.max(0, all.indexOf(document.activeElement) + by))].focus();
    else if (event.key === 'Escape') { hide(); words.focus(); } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  picker.addEventListener('focusout', (event) => { if (!picker.contains(event.relatedTarget)) hide(); });
  return picker;
}

function block(state, reload) {
  return dialog('Block time', (close) => {
    const node = form([h('div', { class: 'fields' },
      field('Person', select('staff', [['', 'Everybody'], ...staffNames().map((n) => [n, n])], { value: state.staff }), { full: true }),
      field('From', input('from', { type: 'datetime-local', step: 300, value: `${state.date}T12:00`, required: true })), field('Until', input('to', { type: 'datetime-local', step: 300, value: `${state.date}T13:00`, required: true })),
      field('Reason', input('reason', { maxlength: 200, placeholder: 'Dentist, training, holiday' }), { full: true }))], async (values) => {
      const body = { from: values.from && instant(values.from), to: values.to && instant(values.to) };
      if (values.staff) body.staff = values.staff;
      if (values.reason.trim()) body.reason = values.reason.trim();
      const made = await post('/api/time-off', body);
      close();
      toast(made.appointments ? `The time is blocked. ${count(made.appointments, 'appointment')} in it still ${made.appointments === 1 ? 'has' : 'have'} to be moved.` : 'The time is blocked');
      reload();
    }, { label: 'Block time', cancel: () => close() });
    return node;
  });
}

async function unblock(o, reload) {
  if (!await confirm('Remove this block?', `${o.reason || 'Time off'}${o.staff ? ` of ${o.staff}` : ''}: the time can be booked again.`, 'Remove', 'main')) return;
  const { ok } = await attempt(() => remove(`/api/time-off/${o.id}`), 'The time can be booked again');
  if (ok) reload();
}

