// Starts the dashboard: the signed-in user, the frame around the pages, and which page an address means.

import { get, may, resume, session, signOut, signedOut } from './api.js';
import { button, clear, failed, h, icon, iconButton, loading, navigate } from './ui.js';
import { business } from './words.js';
import { changePassword } from './password.js';
import * as stream from './stream.js';

const ROUTES = [
  [/^\/(?:live(?:\/(?<sid>[^/]+))?)?$/, 'live', () => import('./pages/live.js')],
  [/^\/calls$/, 'calls', () => import('./pages/calls.js')],
  [/^\/calls\/(?<id>[\w-]+)$/, 'calls', () => import('./pages/call.js')],
  [/^\/calendar$/, 'calendar', () => import('./pages/calendar.js')],
  [/^\/customers$/, 'customers', () => import('./pages/customers.js')],
  [/^\/customers\/(?<id>\d+)$/, 'customers', () => import('./pages/customer.js')],
  [/^\/messages$/, 'messages', () => import('./pages/messages.js')],
  [/^\/analytics$/, 'analytics', () => import('./pages/analytics.js')],
  [/^\/outbound$/, 'outbound', () => import('./pages/outbound.js')],
  [/^\/test-call$/, 'test-call', () => import('./pages/test-call.js')],
  [/^\/search$/, 'search', () => import('./pages/search.js')],
  [/^\/jobs$/, 'jobs', () => import('./pages/jobs.js')],
  [/^\/settings$/, 'settings', () => import('./pages/settings.js')],
  [/^\/access$/, 'access', () => import('./pages/access.js')],
  [/^\/audit$/, 'audit', () => import('./pages/audit.js')],
];

const NAV = [
  [
    ['live', '/', 'Live', 'live', 'read'],
    ['calls', '/calls', 'Calls', 'calls', 'read'],
    ['calendar', '/calendar', 'Calendar', 'calendar', 'read'],
    ['customers', '/customers', 'Customers', 'customers', 'read'],
    ['messages', '/messages', 'Messages', 'messages', 'read'],
    ['analytics', '/analytics', 'Analytics', 'analytics', 'read'],
  ],
  [
    ['outbound', '/outbound', 'Place a call', 'outbound', 'call'],
    ['test-call', '/test-call', 'Test call', 'mic', 'call'],
  ],
  [
    ['jobs', '/jobs', 'Jobs', 'jobs', 'call'],
    ['settings', '/settings', 'Settings', 'settings', 'admin'],
    ['access', '/access', 'Keys and users', 'access', 'admin'],
    ['audit', '/audit', 'Audit trail', 'audit', 'admin'],
  ],
];

const TABS = ['live', 'calls', 'calendar', 'messages'];

const root = document.getElementById('app');
let main = null;
let leaving = null;
let shown = 0;
let current = '';

/** Where the modules lie; their folder changes with every version. */
export const assets = new URL('.', import.meta.url).pathname;

function themeIsDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

function switchTheme() {
  const theme = themeIsDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem('theme', theme);
  } catch {
    // Forbidden storage: the choice holds until the page is left.
  }
  dispatchEvent(new CustomEvent('theme', { detail: theme }));
  return theme;
}

function navLink([name, href, label, iconName]) {
  return h('a', { href, data: { page: name } }, icon(iconName), label,
    name === 'live' && h('span', { class: 'count live', data: { live: '' }, hidden: true }),
    name === 'messages' && h('span', { class: 'count', data: { messages: '' }, hidden: true }));
}

function closeMenu() {
  document.querySelector('.side.open')?.classList.remove('open');
  document.querySelector('.scrim')?.remove();
}

function openMenu() {
  document.querySelector('.side').classList.add('open');
  document.body.append(h('button', { class: 'scrim', type: 'button', 'aria-label': 'Close the menu', onclick: closeMenu }));
  document.querySelector('.side a').focus();
}

function frame() {
  const groups = NAV.map((group) => group.filter(([, , , , role]) => may(role))).filter((group) => group.length);
  const theme = iconButton('Switch between light and dark', themeIsDark() ? 'sun' : 'moon', {
    onclick: () => theme.replaceChildren(icon(switchTheme() === 'dark' ? 'sun' : 'moon')),
  });
  const side = h('aside', { class: 'side', id: 'menu' },
    h('div', { class: 'brand' }, h('img', { src: `${assets}icon.svg`, alt: '', width: 30, height: 30 }),
      h('div', null, h('b', { class: 'cut' }, business.name), h('span', null, 'Front desk'))),
    groups.map((group, n) => h('nav', { class: 'nav', 'aria-label': ['Desk', 'Calls to make', 'Administration'][n] ?? 'More' }, group.map(navLink))),
    h('div', { class: 'foot' },
      h('button', { type: 'button', class: 'who', title: 'Change your password', onclick: changePassword }, h('b', { class: 'cut' }, session.user.name), h('span', null, session.user.role)), theme,
      iconButton('Sign out', 'out', { onclick: leave })));
  const words = h('input', { type: 'search', name: 'q', placeholder: 'Search calls, customers, transcripts', 'aria-label': 'Search', autocomplete: 'off' });
  const state = h('span', { class: 'pill link-state', hidden: true }, 'Updates every few seconds');
  const bar = h('div', { class: 'bar' },
    iconButton('Menu', 'menu', { class: 'button square quiet only-phone', onclick: openMenu, 'aria-controls': 'menu' }),
    h('form', { role: 'search', onsubmit: (event) => {
      event.preventDefault();
      if (words.value.trim()) navigate(`/search?q=${encodeURIComponent(words.value.trim())}`);
    } }, icon('search'), words), state);
  main = h('main', { id: 'main', tabindex: '-1' });
  const all = NAV.flat();
  const tabs = h('nav', { class: 'tabs-bottom', 'aria-label': 'Pages' },
    TABS.map((name) => navLink(all.find(([n]) => n === name))), h('button', { type: 'button', onclick: openMenu }, icon('menu'), 'More'));
  const given = session.user.one_time_password && h('div', { class: 'note warn row apart given' }, 'Your password was made for you. Please choose your own.', button('Choose one', { small: true, onclick: changePassword }));
  clear(root, h('div', { class: 'frame' }, side, h('div', null, bar, given, main)), tabs);
}

async function leave() {
  await signOut();
  location.assign('/');
}

/** Shows the page that the address means. */
async function show() {
  if (!session.user) return;
  closeMenu();
  const path = location.pathname.replace(/(.)\/$/, '$1');
  const query = new URLSearchParams(location.search);
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  shown += 1;
  const turn = shown;
  const found = ROUTES.map(([pattern, name, load]) => [pattern.exec(path), name, load]).find(([match]) => match);
  const name = found?.[1] ?? '';
  const moved = current !== path;
  current = path;
  for (const link of document.querySelectorAll('[data-page]')) {
    if (link.dataset.page === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (!found) {
    clear(main, h('div', { class: 'state' }, icon('warning'), h('h2', null, 'There is no such page'), h('a', { href: '/' }, 'Back to the live calls')));
    return;
  }
  // A page that loads quickly does not flash its bones.
  const slow = setTimeout(() => clear(main, loading(6)), 120);
  try {
    const page = await found[2]();
    clearTimeout(slow);
    if (turn !== shown) return;
    const view = h('div', { class: `page page-${name}` });
    main.className = page.wide ? 'wide' : '';
    clear(main, view);
    if (moved) scrollTo(0, 0);
    await page.default(view, { params: found[0].groups ?? {}, query, signal });
    if (turn !== shown) return;
    const title = view.querySelector('h1')?.textContent;
    document.title = title ? `${title} · ${business.name}` : business.name;
    if (moved && turn > 1) main.focus({ preventScroll: true });
  } catch (error) {
    clearTimeout(slow);
    if (turn !== shown || error.name === 'AbortError') return;
    console.error(error);
    clear(main, failed(error, show));
  }
}

async function loadBusiness() {
  const profile = await get('/api/profile').catch(() => null);
  if (!profile) return;
  Object.assign(business, profile);
}

function counts() {
  const live = stream.calls().size;
  for (const mark of document.querySelectorAll('[data-live]')) {
    mark.hidden = live === 0;
    mark.textContent = String(live);
    mark.setAttribute('aria-label', `${live} live`);
  }
}

async function start() {
  clear(root, loading(4));
  let user;
  try {
    user = await resume();
  } catch (error) {
    clear(root, failed(error, start));
    return;
  }
  if (!user) {
    const page = await import('./pages/sign-in.js');
    page.default(root, start);
    return;
  }
  if (location.pathname === '/sign-in') history.replaceState(null, '', '/');
  await loadBusiness();
  stream.start();
  frame();
  counts();
  await show();
}

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.target || link.hasAttribute('download') || link.origin !== location.origin || link.pathname.startsWith('/api/')) return;
  if (link.hash && link.pathname === location.pathname) return;
  event.preventDefault();
  closeMenu();
  navigate(link.pathname + link.search);
});
addEventListener('popstate', show);
addEventListener('keydown', (event) => {
  if (event.key === 'Escape') closeMenu();
  const typing = event.target.closest?.('input, textarea, select, [contenteditable], dialog');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    document.querySelector('.bar input')?.focus();
  }
});
stream.watch(counts);
stream.watchState((live) => {
  const state = document.querySelector('.link-state');
  if (state) state.hidden = live;
});
signedOut.addEventListener('out', () => {
  if (!session.user) return;
  session.user = null;
  leaving?.abort();
  stream.stop();
  start();
});

start();
