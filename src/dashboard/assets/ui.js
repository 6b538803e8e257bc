// Elements and the parts every page uses. Data becomes text nodes, never markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

function dress(node, props) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2).toLowerCase(), value);
    else if (name === 'class') node.setAttribute('class', value);
    else if (name === 'data') Object.assign(node.dataset, value);
    else if (name === 'css') for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name === 'value' || name === 'checked' || name === 'selected') node[name] = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  return node;
}

/** An element with properties and children. */
export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  // A select's value exists only once its options do.
  const { value, ...rest } = props ?? {};
  dress(node, rest);
  fill(node, children);
  if (value !== undefined && value !== null) node.value = value;
  return node;
}

/** The same for SVG. */
export function svg(tag, props, ...children) {
  return fill(dress(document.createElementNS(SVG, tag), props), children);
}

export function clear(node, ...children) {
  node.replaceChildren();
  return fill(node, children);
}

const ICONS = {
  live: 'M4 12h2l2-6 4 13 3-9 2 4h3',
  calls: 'M5 4h4l1.5 4.5-2.3 1.6a12 12 0 0 0 5.7 5.7l1.6-2.3L20 15v4a1.5 1.5 0 0 1-1.6 1.5A15.5 15.5 0 0 1 3.5 5.6 1.5 1.5 0 0 1 5 4z',
  calendar: 'M4 6.5h16v13H4zM4 10.5h16M8.5 4v4M15.5 4v4',
  customers: 'M9 11.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4zM3.5 19.5c.4-3.4 2.6-5 5.5-5s5.100 1.600 5.500 5M15.500 5.400a3 3 0 0 1 0 5.800M17 14.800c2 .5 3.200 2 3.500 4.700',
  messages: 'M4 5.500h16v11H9.500L5.500 20v-3.500H4z',
  analytics: 'M4.500 20V10M10 20V4.500M15.500 20v-7M20.500 20H3.500M20 20V8.500',
  outbound: 'M5 4h4l1.5 4.5-2.300 1.600a12 12 0 0 0 5.700 5.700l1.600-2.300L20 15v4a1.500 1.500 0 0 1-1.600 1.500A15.500 15.500 0 0 1 3.500 5.600 1.500 1.500 0 0 1 5 4zM14.500 9.500l5.500-5.500M15.500 4H20v4.500',
  mic: 'M12 14.500a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v5.500a3 3 0 0 0 3 3zM6 11.500a6 6 0 0 0 12 0M12 17.500V21',
  jobs: 'M4 6.500h16M4 12h10M4 17.500h7M17 14.500v3l2 1.500',
  settings: 'M5 7h9M18 7h1M5 12h2M11 12h8M5 17h7M16 17h3M16 9a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM9 14a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM14 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4z',
  access: 'M8 15.500a4 4 0 1 1 3.800-5.300H20.500v3h-2v2.500h-3v-2.500h-3.700A4 4 0 0 1 8 15.500z',
  audit: 'M6 4h9l3.500 3.500V20H6zM9 11h6M9 14.500h6M9 7.500h3',
  search: 'M10.500 17a6.500 6.500 0 1 0 0-13 6.500 6.500 0 0 0 0 13zM15.500 15.500 20 20',
  menu: 'M4 7h16M4 12h16M4 17h16',
  close: 'M6 6l12 12M18 6 6 18',
  plus: 'M12 5v14M5 12h14',
  left: 'M14.500 6l-6 6 6 6',
  right: 'M9.500 6l6 6-6 6',
  sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 3v1.500M12 19.500V21M3 12h1.500M19.500 12H21M5.600 5.600l1.100 1.100M17.300 17.300l1.100 1.100M18.400 5.600l-1.100 1.100M6.700 17.300l-1.100 1.100',
  moon: 'M19.500 14.500A8 8 0 1 1 9.500 4.500a6.500 6.500 0 0 0 10 10z',
  out: 'M14 5H5v14h9M10 12h10.500M17 8.500l3.500 3.500-3.500 3.500',
  play: 'M8 5.500v13l10.500-6.500z',
  pause: 'M8.500 5.500v13M15.500 5.500v13',
  end: 'M3.500 14.500c4.500-5 12.500-5 17 0l-2.500 2.500-3.300-1.700v-2.700a11 11 0 0 0-5.400 0v2.700L6 17z',
  transfer: 'M4 8h13M13.500 4.500 17 8l-3.500 3.500M20 16H7M10.500 12.500 7 16l3.500 3.500',
  say: 'M5 9.500v5h3.500l4.500 4v-13l-4.500 4zM16.500 9a4.500 4.500 0 0 1 0 6M19 6.500a8 8 0 0 1 0 11',
  mute: 'M5 9.500v5h3.500l4.500 4v-13l-4.500 4zM16.500 9.500l5 5M21.500 9.500l-5 5',
  check: 'M5 12.500l4.500 4.500L19 7.500',
  warning: 'M12 4 2.800 19.500h18.400zM12 10v4.500M12 17v.2',
  empty: 'M4 13.500 6.500 5.500h11L20 13.500v5.500H4zM4 13.500h5l1 2.500h4l1-2.500h5',
  retry: 'M19.500 12a7.500 7.500 0 1 1-2.200-5.300M19.500 4v4.500H15',
  download: 'M12 4.500v10M8 11l4 4 4-4M5 19.500h14',
};

/** A line icon; says nothing to screen readers. */
export function icon(name) {
  return svg('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' }, svg('path', { d: ICONS[name] ?? '' }));
}

/** Runs a control's work once at a time: while it goes on, the control says that it is busy, and further clicks do nothing. */
function once(work) {
  return async (event) => {
    const control = event.currentTarget;
    if (control.getAttribute('aria-busy') === 'true') return;
    const going = work(event);
    if (!(going instanceof Promise)) return;
    control.setAttribute('aria-busy', 'true');
    try {
      await going;
    } finally {
      control.removeAttribute('aria-busy');
    }
  };
}

/** A button. `tone`: main, danger, quiet. */
export function button(label, props = {}, iconName) {
  const { tone, small, onclick, ...rest } = props;
  const kind = ['button', tone, small && 'small'].filter(Boolean).join(' ');
  return h('button', { type: 'button', class: kind, onclick: onclick && once(onclick), ...rest }, iconName && icon(iconName), label);
}

/** A button that shows an icon only; `label` is what it is called. */
export function iconButton(label, iconName, props = {}) {
  const { tone = 'quiet', small, onclick, ...rest } = props;
  const kind = ['button square', tone, small && 'small'].filter(Boolean).join(' ');
  return h('button', { type: 'button', class: kind, 'aria-label': label, title: label, onclick: onclick && once(onclick), ...rest }, icon(iconName));
}

export function pill(text, tone = '') {
  return h('span', { class: `pill ${tone}` }, text);
}

/** The head of a page: title, a line below, buttons. */
export function head(title, { under, actions, back } = {}) {
  return h('div', { class: 'head' },
    h('div', { class: 'titles' },
      back && h('a', { class: 'back', href: back.href }, icon('left'), back.label),
      h('h1', null, title), under && h('p', null, under)),
    actions && h('div', { class: 'actions' }, actions));
}

/** A card with an optional head. */
export function card(title, content, { tools, bare } = {}) {
  return h('section', { class: 'card' },
    title && h('header', null, h('h2', null, title), tools),
    bare ? content : h('div', { class: 'inside' }, content));
}

// States.

export function loading(lines = 5, label = 'Loading') {
  return h('div', { class: 'bones', role: 'status', 'aria-label': label }, Array.from({ length: lines }, () => h('i')));
}

export function empty(title, text, action) {
  return h('div', { class: 'state' }, icon('empty'), h('h2', null, title), text && h('p', null, text), action);
}

/** What stands where something could not be loaded; on a page of its own with its heading. */
export function failed(error, retry, { whole = false } = {}) {
  const gone = error.status === 404;
  return h('div', { class: 'state', role: 'alert' }, icon('warning'), h(whole ? 'h1' : 'h2', null, gone ? 'This is not there' : 'This could not be loaded'),
    h('p', null, gone ? 'It may have been removed.' : error.message), !gone && retry && button('Try again', { onclick: retry }, 'retry'));
}

/** Fills `place` with what `load` promises; shows bones while it waits and the reason when it fails. `whole`: it is all of
    the page. */
export async function fillFrom(place, load, show, { signal, lines, whole } = {}) {
  clear(place, loading(lines));
  const again = () => fillFrom(place, load, show, { signal, lines, whole });
  try {
    const data = await load();
    if (signal?.aborted) return;
    const shown = show(data);
    if (shown !== undefined) clear(place, shown);
  } catch (error) {
    if (signal?.aborted || error.name === 'AbortError') return;
    if (!error.status && error.status !== 0) console.error(error);
    clear(place, failed(error, again, { whole }));
  }
}

// What is told.

export function announce(text) {
  const place = document.getElementById('announcer');
  place.textContent = '';
  requestAnimationFrame(() => { place.textContent = text; });
}

export function toast(text, { bad = false, action } = {}) {
  const line = h('div', { class: `toast ${bad ? 'bad' : ''}` }, h('span', null, text));
  const drop = () => line.remove();
  if (action) line.append(h('button', { type: 'button', onclick: () => { drop(); action.run(); } }, action.label));
  // The same again replaces what still stands there.
  for (const other of document.querySelectorAll('.toast')) if (other.firstChild.textContent === text) other.remove();
  const place = document.getElementById('toasts');
  place.append(line);
  // Shown anew, so that it is above a dialog that was opened since.
  place.togglePopover?.(false);
  place.togglePopover?.(true);
  announce(text);
  // Nothing goes away under the pointer or the focus of whoever reads it.
  const end = () => { if (line.matches(':hover, :focus-within')) setTimeout(end, 1000); else drop(); };
  setTimeout(end, bad || action ? 8000 : 4000);
}

/** Runs something that may be refused; the reason becomes a toast. */
export async function attempt(work, done) {
  try {
    const result = await work();
    if (done) toast(done);
    return { ok: true, result };
  } catch (error) {
    if (error.name !== 'AbortError') toast(error.message, { bad: true });
    return { ok: false, error };
  }
}

// Dialogs and forms.

/** Opens a dialog; `build(close)` gives its content. Resolves with what it is closed with. */
export function dialog(title, build) {
  return new Promise((resolve) => {
    let answer;
    const label = `dialog-${Math.random().toString(36).slice(2)}`;
    const close = (value) => { answer = value; node.close(); };
    const node = h('dialog', { 'aria-labelledby': label },
      h('header', null, h('h2', { id: label }, title), iconButton('Close', 'close', { onclick: () => close() })));
    node.append(h('div', { class: 'inside' }, build(close)));
    node.addEventListener('close', () => { node.remove(); resolve(answer); });
    // A press on the darkened page closes it; one that began inside, such as marking a text, does not.
    let outside = false;
    node.addEventListener('pointerdown', (event) => { outside = event.target === node; });
    node.addEventListener('click', (event) => { if (event.target === node && outside) close(); });
    document.body.append(node);
    node.showModal();
    node.querySelector('.inside :is(input:not([type="hidden"]), select, textarea, .button)')?.focus();
  });
}

/** Closes every dialog, as if nothing had been chosen. */
export function closeDialogs() {
  for (const node of document.querySelectorAll('dialog')) node.close();
}

/** Asks before something that cannot be undone. */
export function confirm(title, text, label, tone = 'danger') {
  return dialog(title, (close) => h('div', { class: 'form' }, h('p', null, text),
    h('div', { class: 'buttons' }, button('Cancel', { onclick: () => close(false) }),
      button(label, { tone, onclick: () => close(true) }))));
}

let fieldCount = 0;

/** A labelled control. `name` is the API's field, by which a refusal finds it. */
export function field(label, control, { hint, full, name } = {}) {
  const id = control.id || `field-${(fieldCount += 1)}`;
  control.id = id;
  const wrong = h('span', { class: 'wrong', id: `${id}-wrong`, hidden: true });
  if (hint) control.setAttribute('aria-describedby', `${id}-hint`);
  return h('div', { class: `field ${full ? 'full' : ''}`, data: { field: name ?? control.name ?? '' } },
    h('label', { for: id }, label), control, hint && h('span', { class: 'hint', id: `${id}-hint` }, hint), wrong);
}

export const input = (name, props = {}) => h('input', { name, type: 'text', autocomplete: 'off', ...props });
export const textarea = (name, props = {}) => h('textarea', { name, ...props });

/** A select. Options are texts or `[value, text]`. */
export function select(name, options, props = {}) {
  return h('select', { name, ...props }, options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return h('option', { value }, text);
  }));
}

export function check(label, props = {}) {
  return h('label', { class: 'check' }, h('input', { type: 'checkbox', ...props }), label);
}

/** A form that is sent once at a time and shows the API's refusal at the fields it names. */
export function form(fields, send, { label = 'Save', tone = 'main', cancel } = {}) {
  const general = h('div', { class: 'note bad', role: 'alert', hidden: true });
  const submit = h('button', { type: 'submit', class: `button ${tone}` }, label);
  const node = h('form', { class: 'form', novalidate: true }, fields, general,
    h('div', { class: 'buttons' }, cancel && button('Cancel', { onclick: cancel }), submit));
  node.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (submit.getAttribute('aria-busy') === 'true') return;
    submit.setAttribute('aria-busy', 'true');
    showErrors(node, general, null);
    try {
      await send(Object.fromEntries(new FormData(node)), node);
    } catch (error) {
      if (error.name !== 'AbortError') showErrors(node, general, error);
    } finally {
      submit.removeAttribute('aria-busy');
    }
  });
  return node;
}

/** A refusal of our own, about one field. */
export const refused = (field, message) => Object.assign(new Error(message), { errors: [{ field, message }] });

/** Puts a refusal's reasons at the fields they are about, the rest above the buttons. */
export function showErrors(node, general, error) {
  for (const mark of node.querySelectorAll('.wrong')) mark.hidden = true;
  for (const control of node.querySelectorAll('[aria-invalid]')) control.removeAttribute('aria-invalid');
  general.hidden = true;
  if (!error) return;
  const rest = [];
  let first = null;
  for (const { field: name, message } of error.errors ?? []) {
    const places = [...node.querySelectorAll('.field')];
    const place = places.find((p) => p.dataset.field && p.dataset.field === name);
    const control = place?.querySelector('input, select, textarea');
    if (!control) { rest.push(name ? `${name}: ${message}` : message); continue; }
    const wrong = place.querySelector('.wrong');
    wrong.textContent = message.charAt(0).toUpperCase() + message.slice(1);
    wrong.hidden = false;
    control.setAttribute('aria-invalid', 'true');
    control.setAttribute('aria-errormessage', wrong.id);
    first ??= control;
  }
  if (rest.length || !first) {
    general.textContent = rest.length ? rest.join(' · ') : error.message;
    general.hidden = false;
  }
  first?.focus();
}

/** Buttons of which one is chosen. */
export function segments(label, options, chosen, choose) {
  const node = h('div', { class: 'segments', role: 'group', 'aria-label': label });
  for (const [value, text] of options) {
    const one = h('button', { type: 'button', 'aria-pressed': String(value === chosen) }, text);
    one.addEventListener('click', () => {
      for (const other of node.children) other.setAttribute('aria-pressed', String(other === one));
      choose(value);
    });
    node.append(one);
  }
  return node;
}

/** A table. `columns`: {title, cell(row), kind}; `open(row)` gives the address of a row. */
export function table(columns, { label, open } = {}) {
  // On a phone the rows are drawn as cards, which would make browsers forget that it is a table: hence the roles.
  const body = h('tbody', { role: 'rowgroup' });
  const node = h('table', { class: 'table', role: 'table', 'aria-label': label },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map((c) => h('th', { class: c.kind, scope: 'col', role: 'columnheader' }, c.title || h('span', { class: 'unseen' }, 'What can be done'))))), body);
  node.add = (rows) => body.append(...rows.map((row) => {
    const line = h('tr', { class: open ? 'open' : '', role: 'row' }, columns.map((c) => h('td', { class: c.kind, role: 'cell', data: { title: c.title } }, c.cell(row))));
    if (open) {
      line.addEventListener('click', (event) => {
        if (!event.target.closest('a, button, input') && !String(getSelection())) navigate(open(row));
      });
    }
    return line;
  }));
  node.empty = () => body.replaceChildren();
  return node;
}

/** Goes to another page of the dashboard. */
export function navigate(path, { replace = false } = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', path);
  dispatchEvent(new PopStateEvent('popstate'));
}

/** Changes the query of the address without leaving the page. */
export function setQuery(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value === '' || value === null || value === undefined) query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  history.replaceState(null, '', text ? `${location.pathname}?${text}` : location.pathname);
}

/** How to scroll: at once for those who do not want things to move. */
export const gently = () => (matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth');

/** Calls `work` once the calls to it have stopped for a moment. */
export function settled(work, ms = 250) {
  let timer;
  return (...args) => { clearTimeout(timer); timer = setTimeout(() => work(...args), ms); };
}
