// Starts the dashboard: the signed-in user, the frame around the pages, and which page an address means.

import { get, may, reach, resume, session, signOut, signedOut } from './api.js';
import { announce, attempt, button, clear, closeDialogs, failed, h, icon, iconButton, loading, navigate } from './ui.js';
import { business, plain } from './words.js';
import { changePassword, choosePassword } from './password.js';
import * as stream from './stream.js';

/** Loads a page's module. A browser remembers that a module could not be fetched: asked again, it is another address. */
const page = (file) => {
  let tries = 0;
  return async () => {
    try {
      return await import(`./pages/${file}.js${tries ? `?again=${tries}` : ''}`);
    } catch (error) {
      tries += 1;
      throw error;
    }
  };
};

const ROUTES = [
  [/^\/(?:live(?:\/(?<sid>[^/]+))?)?$/, 'live', page('live')],
  [/^\/calls$/, 'calls', page('calls')],
  [/^\/calls\/(?<id>[\w-]+)$/, 'calls', page('call')],
  [/^\/calendar$/, 'calendar', page('calendar')],
  [/^\/customers$/, 'customers', page('customers')],
  [/^\/customers\/(?<id>\d+)$/, 'customers', page('customer')],
  [/^\/messages$/, 'messages', page('messages')],
  [/^\/analytics$/, 'analytics', page('analytics')],
  [/^\/outbound$/, 'outbound', page('outbound')],
  [/^\/test-call$/, 'test-call', page('test-call')],
  [/^\/search$/, 'search', page('search')],
  [/^\/jobs$/, 'jobs', page('jobs')],
  [/^\/settings$/, 'settings', page('settings')],
  [/^\/access$/, 'access', page('access')],
  [/^\/audit$/, 'audit', page('audit')],
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
    ['jobs', '/jobs', 'Background work', 'jobs', 'call'],
    ['settings', '/settings', 'Settings', 'settings', 'admin'],
    ['access', '/access', 'Users and keys', 'access', 'admin'],
    ['audit', '/audit', 'Audit trail', 'audit', 'admin'],
  ],
];

const TABS = ['live', 'calls', 'calendar', 'messages'];

const root = document.getElementById('app');
let main = null;
let away = null;
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

/** What the open menu covers, and who opened it. */
const covered = () => document.querySelectorAll('.content, .tabs-bottom');
let opener = null;

function closeMenu() {
  if (!document.querySelector('.side.open')) return;
  document.querySelector('.side').classList.remove('open');
  document.querySelector('.scrim')?.remove();
  for (const part of covered()) part.inert = false;
  opener?.focus();
}

function openMenu(event) {
  opener = event.currentTarget;
  document.querySelector('.side').classList.add('open');
  for (const part of covered()) part.inert = true;
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
      h('div', null, h('b', null, business.name), h('span', null, 'Front desk'))),
    groups.map((group, n) => h('nav', { class: 'nav', 'aria-label': ['Desk', 'Calls to make', 'Administration'][n] ?? 'More' }, group.map(navLink))),
    h('div', { class: 'foot' },
      h('button', { type: 'button', class: 'who', title: 'Change your password', onclick: changePassword }, h('b', { class: 'cut' }, session.user.name), h('span', null, plain(session.user.role)), h('span', { class: 'unseen' }, ': change your password')), theme,
      iconButton('Sign out', 'out', { onclick: leave })));
  const words = h('input', { type: 'search', name: 'q', placeholder: 'Search calls and customers', 'aria-label': 'Search calls and customers', autocomplete: 'off' });
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
  away = h('div', { class: 'note bad row apart given', role: 'alert', hidden: true });
  clear(root, h('div', { class: 'frame' }, side, h('div', { class: 'content' }, bar, away, given, main)), tabs);
}

async function leave() {
  if (!(await attempt(signOut)).ok) return;
  tabsOfUs?.postMessage('session');
  location.assign('/');
}

/** Other tabs of this browser share the session: they are told when somebody signs in or out. */
const tabsOfUs = 'BroadcastChannel' in globalThis ? new BroadcastChannel('frontdesk') : null;
tabsOfUs?.addEventListener('message', async () => {
  const was = session.user?.id;
  const user = await resume().catch(() => session.user);
  if (user?.id !== was) restart();
});

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
    clear(main, h('div', { class: 'state' }, icon('warning'), h('h1', null, 'There is no such page'), h('a', { class: 'button', href: '/' }, 'To the live calls')));
    return;
  }
  // A page that loads quickly does not flash its bones.
  const slow = setTimeout(() => clear(main, loading(6)), 120);
  try {
    const module = await found[2]();
    clearTimeout(slow);
    if (turn !== shown) return;
    const view = h('div', { class: `page page-${name}` });
    main.className = module.wide ? 'wide' : '';
    clear(main, view);
    if (moved) scrollTo(0, 0);
    await module.default(view, { params: found[0].groups ?? {}, query, signal });
    if (turn !== shown) return;
    const title = view.querySelector('h1')?.textContent;
    document.title = title ? `${title} · ${business.name}` : business.name;
    if (moved && turn > 1) main.focus({ preventScroll: true });
  } catch (error) {
    clearTimeout(slow);
    if (turn !== shown || error.name === 'AbortError') return;
    console.error(error);
    clear(main, failed(error, show, { whole: true }));
  }
}

/** How many messages wait, beside their name in the menu. */
async function countMessages() {
  if (!session.user || document.hidden) return;
  const open = await get('/api/messages', { state: 'open', limit: 100 }).catch(() => null);
  if (!open) return;
  const many = Boolean(open.next_cursor);
  for (const mark of document.querySelectorAll('[data-messages]')) {
    mark.hidden = open.items.length === 0;
    mark.textContent = many ? '99+' : String(open.items.length);
    mark.append(h('span', { class: 'unseen' }, ' waiting'));
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
    mark.append(h('span', { class: 'unseen' }, ' live now'));
  }
}

async function start({ expired = false } = {}) {
  clear(root, loading(4));
  let user;
  try {
    user = await resume();
  } catch (error) {
    clear(root, h('main', { class: 'sign-in', id: 'main' }, h('div', { class: 'card' }, failed(error, () => start(), { whole: true }))));
    return;
  }
  if (!user) {
    const page = await import('./pages/sign-in.js');
    page.default(root, () => {
      tabsOfUs?.postMessage('session');
      start();
    }, expired);
    return;
  }
  if (user.one_time_password) {
    choosePassword(root);
    return;
  }
  if (location.pathname === '/sign-in') history.replaceState(null, '', '/');
  await loadBusiness();
  stream.start();
  frame();
  counts();
  countMessages();
  await show();
}

/** Begins anew where one is, for somebody else or for nobody. */
function restart(how) {
  leaving?.abort();
  stream.stop();
  closeDialogs();
  closeMenu();
  current = '';
  start(how);
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
stream.watch((event) => {
  counts();
  // A call that is over may have left a message.
  if (event.type === 'ended') countMessages();
});
addEventListener('messages', countMessages);
setInterval(countMessages, 60000);
stream.watchState((live) => {
  const state = document.querySelector('.link-state');
  if (state) state.hidden = live;
});
signedOut.addEventListener('out', () => {
  if (!session.user) return;
  session.user = null;
  restart({ expired: true });
});
reach.addEventListener('down', () => {
  if (!away) return;
  clear(away, h('span', null, 'The server cannot be reached. What you see may be out of date; it is tried again every few seconds.'),
    button('Try now', { small: true, onclick: () => stream.refresh().catch(() => null) }, 'retry'));
  away.hidden = false;
});
reach.addEventListener('up', () => {
  if (!away || away.hidden) return;
  away.hidden = true;
  announce('The server can be reached again');
  // What could not be loaded meanwhile is loaded now.
  if (main?.querySelector('.state[role=alert]')) show();
});

start();
