// The server's settings and the business's profile; both hold from the next call on.

import { change, getTagged, may } from '../api.js';
import { attempt, button, card, clear, field, fillFrom, form, h, head, iconButton, input, segments, select, setQuery, textarea, toast } from '../ui.js';
import { business, minuteOf, minuteText, plain } from '../words.js';

const DAYS = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'];

export default async function page(view, { query, signal }) {
  const place = h('div');
  const tabs = { business: profilePage, server: settingsPage };
  const choose = (name) => {
    setQuery({ tab: name });
    clear(place);
    tabs[name](place, signal);
  };
  const first = tabs[query.get('tab')] ? query.get('tab') : 'business';
  view.append(head('Settings', { under: 'A change holds from the next call on; nobody on the line notices.' }),
    h('div', { class: 'filters' }, segments('Settings of', [['business', 'The business'], ['server', 'Technical']], first, choose)), place);
  choose(first);
}

const profilePage = (place, signal) => fillFrom(place, () => getTagged('/api/profile', signal), ({ data, etag }) => editor(data, etag), { signal, lines: 10 });

/** A growing list of small forms. */
function repeat(items, draw, blank, addLabel) {
  const list = h('div', { class: 'repeat' });
  const add = (item) => {
    const row = h('div', { class: 'repeat-row' }, draw(item));
    row.append(iconButton('Remove', 'close', { small: true, onclick: () => {
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      (next?.querySelector('input') ?? node.lastChild.firstChild).focus();
    } }));
    list.append(row);
    return row;
  };
  items.forEach(add);
  const node = h('div', { class: 'stack' }, list, h('div', null, button(addLabel, { small: true, onclick: () => add(blank()).querySelector('input')?.focus() }, 'plus')));
  node.read = (read) => [...list.children].map(read);
  return node;
}

const value = (row, name) => row.querySelector(`[name="${name}"]`).value.trim();
const words = (text) => text.split(',').map((t) => t.trim()).filter(Boolean);

function editor(profile, etag) {
  const plainFields = h('div', { class: 'fields' },
    field('Name', input('name', { value: profile.name ?? '' })), field('Kind of business', input('type', { value: profile.type ?? '' })), field('Phone', input('phone', { value: profile.phone ?? '' })),
    field('Time zone', input('timezone', { value: profile.timezone ?? '' }), { hint: 'Such as America/New_York' }), field('Address', input('address', { value: profile.address ?? '' }), { full: true }));
  const voice = h('div', { class: 'fields' },
    field('Greeting', textarea('greeting', { value: profile.greeting ?? '' }), { hint: '{business} stands for the name' }), field('Goodbye', textarea('goodbye', { value: profile.goodbye ?? '' })),
    field('Personality', textarea('personality', { value: profile.personality ?? '' }), { full: true }),
    field('Recording notice', textarea('recording_notice', { value: profile.recording_notice ?? '' }), { hint: 'Spoken before anything is recorded' }),
    field('Transfer number', input('transfer_number', { type: 'tel', value: profile.transfer_number ?? '' }), { hint: 'Where callers who want a person are sent' }),
    field('Language', input('locale', { value: profile.locale ?? '' })));
  const hours = h('div', { class: 'hours' }, DAYS.map((d) => {
    const known = profile.hours?.[d];
    const open = known && known !== 'closed';
    const from = input(`${d}-open`, { type: 'time', value: open ? minuteText(minuteOf(known.open)) : '09:00', 'aria-label': `${plain(d)} opens` });
    const to = input(`${d}-close`, { type: 'time', value: open ? minuteText(minuteOf(known.close) % 1440) : '17:00', 'aria-label': `${plain(d)} closes` });
    const isOpen = h('input', { type: 'checkbox', checked: Boolean(open), onchange: () => sync() });
    const sync = () => { from.disabled = !isOpen.checked; to.disabled = !isOpen.checked; };
    sync();
    return h('div', { class: 'hours-row', data: { day: d } }, h('label', { class: 'check' }, isOpen, plain(d)), from, h('span', { class: 'muted' }, 'to'), to);
  }));
  const services = repeat(profile.services ?? [], (s) => h('div', { class: 'fields' }, field('Service', input('s-name', { value: s.name ?? '' })), field('Minutes', input('s-duration', { type: 'number', min: 5, step: 5, value: s.duration ?? 30 })), field('Price', input('s-price', { type: 'number', min: 0, step: 0.5, value: s.price ?? 0 })), field('Description', input('s-description', { value: s.description ?? '' }))), () => ({}), 'Add a service');
  const staff = repeat(profile.staff ?? [], (s) => h('div', { class: 'fields' }, field('Name', input('p-name', { value: s.name ?? '' })), field('Role', input('p-role', { value: s.role ?? '' })), field('Good at', input('p-specialties', { value: (s.specialties ?? []).join(', ') }), { hint: 'Separated by commas' })), () => ({}), 'Add a person');
  const closures = repeat(profile.closures ?? [], (c) => h('div', { class: 'fields' }, field('Date', input('c-date', { type: 'date', value: c.date ?? c ?? '' })), field('Reason', input('c-reason', { value: c.reason ?? '' }))), () => ({}), 'Add a day');
  const policies = h('div', { class: 'fields' },
    field('Cancellation', textarea('cancellation', { value: profile.policies?.cancellation ?? '' })), field('Lateness', textarea('lateness', { value: profile.policies?.lateness ?? '' })),
    field('Payment', input('payment', { value: (profile.policies?.payment ?? []).join(', ') }), { full: true, hint: 'Separated by commas' }));
  const rules = h('div', { class: 'fields' },
    field('Shortest notice, minutes', input('lead_minutes', { type: 'number', min: 0, value: profile.lead_minutes ?? 0 })), field('Bookable days ahead', input('horizon_days', { type: 'number', min: 1, value: profile.horizon_days ?? 60 })),
    field('Minutes between appointments', input('buffer_minutes', { type: 'number', min: 0, value: profile.buffer_minutes ?? 0 })));
  const section = (title, content) => h('fieldset', null, h('legend', null, h('h2', null, title)), content);
  const node = form([
    section('Business', plainFields), section('Opening hours', hours), section('Services', services), section('People', staff), section('Closed on', closures), section('How it speaks', voice), section('Policies', policies), section('Booking', rules),
  ], async (v) => {
    const next = { ...profile };
    for (const name of ['name', 'type', 'phone', 'address', 'personality', 'timezone']) next[name] = v[name].trim();
    for (const name of ['greeting', 'goodbye', 'recording_notice', 'transfer_number', 'locale']) {
      if (v[name].trim()) next[name] = v[name].trim();
      else delete next[name];
    }
    for (const name of ['lead_minutes', 'horizon_days', 'buffer_minutes']) next[name] = Number(v[name]);
    next.hours = {};
    for (const row of hours.children) {
      const isOpen = row.querySelector('[type="checkbox"]').checked;
      const [from, to] = row.querySelectorAll('[type="time"]');
      next.hours[row.dataset.day] = isOpen ? { open: from.value, close: to.value === '00:00' ? '24:00' : to.value } : 'closed';
    }
    next.services = services.read((r) => ({ name: value(r, 's-name'), duration: Number(value(r, 's-duration')), price: Number(value(r, 's-price')), description: value(r, 's-description') }));
    next.staff = staff.read((r) => ({ name: value(r, 'p-name'), role: value(r, 'p-role'), specialties: words(value(r, 'p-specialties')) }));
    next.closures = closures.read((r) => ({ date: value(r, 'c-date'), reason: value(r, 'c-reason') }));
    next.policies = { ...profile.policies, cancellation: v.cancellation.trim(), lateness: v.lateness.trim(), payment: words(v.payment) };
    const kept = await change('PUT', '/api/profile', next, etag);
    etag = kept.etag;
    profile = kept.data;
    Object.assign(business, profile);
    toast('The profile is saved');
  }, { label: 'Save the profile' });
  node.classList.add('sectioned');
  if (!may('admin')) lock(node);
  return card(null, node);
}

function lock(node) {
  for (const control of node.querySelectorAll('input, select, textarea, button')) control.disabled = true;
}

const SECTIONS = { call: 'Calls', stt: 'Listening', tts: 'Speaking', llm: 'Thinking', twilio: 'Telephone', server: 'Server', limits: 'Limits', jobs: 'Background work', retention: 'Retention', recording: 'Recording' };

const shown = (value) => (Array.isArray(value) ? value.join(', ') : value ?? '');

/** What a control says, as the API wants it. */
function read(entry, text) {
  if (entry.kind === 'switch') return text === 'true';
  if (entry.kind === 'list') return words(text);
  if (text.trim() === '') return null;
  return entry.kind === 'number' || entry.kind === 'decimal' ? Number(text) : text.trim();
}

const settingsPage = (place, signal) => fillFrom(place, () => getTagged('/api/settings', signal), ({ data, etag }) => {
  const entries = data.items;
  if (!entries.length) return h('div', { class: 'card' }, h('div', { class: 'state' }, 'There is nothing to set here.'));
  const groups = new Map();
  for (const entry of entries) {
    const section = entry.name.split('.')[0];
    groups.set(section, [...(groups.get(section) ?? []), entry]);
  }
  const known = new Map(entries.map((e) => [e.name, e]));
  const send = async (changed) => {
    const answer = await change('PATCH', '/api/settings', changed, etag);
    etag = answer.etag;
    toast('The settings are saved');
    settingsPage(place, signal);
  };
  const control = (e) => {
    const label = plain(e.name.slice(e.name.indexOf('.') + 1)).replace(/ ms$/, ', ms').replace(/ s$/, ', s');
    const node = e.kind === 'switch' ? select(e.name, [['true', 'On'], ['false', 'Off']], { value: String(e.value) })
      : input(e.name, { type: e.kind === 'number' || e.kind === 'decimal' ? 'number' : 'text', step: e.kind === 'number' ? 1 : 'any', value: shown(e.value) });
    const place = field(label, node, { hint: e.meaning.replaceAll('`', '') });
    if (e.source === 'staff') {
      place.append(h('div', { class: 'row small muted' }, `Changed here; the configuration says ${e.kind === 'switch' ? (e.configured ? 'on' : 'off') : shown(e.configured) || 'nothing'}.`,
        may('admin') && button('Give back', { small: true, tone: 'quiet', onclick: () => attempt(() => send({ [e.name]: null })) })));
    }
    return place;
  };
  const node = form([...groups].map(([name, list]) => h('fieldset', null, h('legend', null, h('h2', null, SECTIONS[name] ?? plain(name))), h('div', { class: 'fields' }, list.map(control)))), async (values) => {
    const changed = {};
    for (const [name, text] of Object.entries(values)) {
      const entry = known.get(name);
      const now = entry && read(entry, text);
      if (entry && JSON.stringify(now) !== JSON.stringify(entry.value ?? null)) changed[name] = now;
    }
    if (Object.keys(changed).length) await send(changed);
    else toast('Nothing was changed');
  }, { label: 'Save the settings' });
  node.classList.add('sectioned');
  if (!may('admin')) lock(node);
  return card(null, h('div', { class: 'stack' }, h('p', { class: 'note' }, 'For whoever runs the server. Times in ms are thousandths of a second.'), node));
}, { signal, lines: 10 });
