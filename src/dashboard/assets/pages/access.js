// Who may do what: people with a password, programs with a key.

import { get, patch, post, remove, session } from '../api.js';
import { attempt, button, card, confirm, dialog, field, fillFrom, form, h, head, input, pill, select, table } from '../ui.js';
import { plain, when } from '../words.js';

const ROLES = [['viewer', 'Viewer: sees everything'], ['staff', 'Staff: also calls, books and changes'], ['admin', 'Admin: also settings, users and keys']];
const SCOPES = [['read', 'Read: lists and calls'], ['call', 'Call: also calls, bookings, changes'], ['admin', 'Admin: everything']];

/** Shows what is told only once. */
const secret = (title, text, value) => dialog(title, (close) => h('div', { class: 'form' }, h('p', null, text),
  h('div', { class: 'secret' }, h('code', { class: 'mono' }, value), button('Copy', { small: true, onclick: () => attempt(() => navigator.clipboard.writeText(value), 'Copied') })),
  h('div', { class: 'buttons' }, button('I have kept it', { tone: 'main', onclick: () => close() }))));

export default async function page(view, { signal }) {
  const users = h('div');
  const keys = h('div');
  const addUser = () => dialog('New user', (close) => form([h('div', { class: 'fields' }, field('Name', input('name', { required: true, maxlength: 64, autocapitalize: 'none' })), field('Role', select('role', ROLES, { value: 'staff' })))], async (values) => {
    const made = await post('/api/users', { name: values.name.trim(), role: values.role });
    close();
    loadUsers();
    if (made.password) secret(`Password for ${made.name}`, 'It is shown only now. They choose their own after the first sign-in.', made.password);
  }, { label: 'Add user', cancel: () => close() }));
  const addKey = () => dialog('New key', (close) => form([h('div', { class: 'fields' }, field('Name', input('name', { required: true, maxlength: 64, placeholder: 'Website booking' })), field('What it may do', select('scope', SCOPES, { value: 'read' })))], async (values) => {
    const made = await post('/api/keys', { name: values.name.trim(), scope: values.scope });
    close();
    loadKeys();
    secret('The new key', 'It is shown only now. Programs send it as “Authorization: Bearer …”.', made.key);
  }, { label: 'Make key', cancel: () => close() }));
  view.append(head('Users and keys', { under: 'Who may sign in here, and which other programs may use the front desk.' }), h('div', { class: 'stack' },
    card('Users', users, { bare: true, tools: button('New user', { small: true, onclick: addUser }, 'plus') }), card('Keys of programs', keys, { bare: true, tools: button('New key', { small: true, onclick: addKey }, 'plus') })));

  const act = async (work, done) => { await attempt(work, done); loadUsers(); };
  const loadUsers = () => fillFrom(users, () => get('/api/users', { limit: 500 }, signal), ({ items }) => {
    const node = table([
      { title: 'Name', kind: 'first', cell: (u) => h('span', { class: 'row' }, h('b', null, u.name), u.id === session.user.id && pill('You', 'accent')) },
      { title: 'Role', cell: (u) => (u.id === session.user.id ? pill(plain(u.role), 'accent') : select('role', ROLES.map(([value]) => [value, plain(value)]), { value: u.role, 'aria-label': `Role of ${u.name}`, class: 'slim', onchange: (e) => act(() => patch(`/api/users/${u.id}`, { role: e.target.value }), 'The role is changed') })) },
      { title: 'State', cell: (u) => (u.disabled ? pill('Locked out', 'bad') : u.one_time_password ? pill('No password of their own yet', 'warn') : null) },
      { title: 'Since', kind: 'nowrap muted', cell: (u) => when(u.created_at) },
      { title: '', kind: 'tools', cell: (u) => u.id !== session.user.id && h('div', { class: 'row' },
        !u.disabled && button('New password', { small: true, onclick: async () => {
          if (!await confirm(`A new password for ${u.name}?`, 'The one they have stops working, and they are signed out.', 'Make one', 'main')) return;
          const { ok, result } = await attempt(() => patch(`/api/users/${u.id}`, { new_password: true }));
          if (ok) { loadUsers(); secret(`Password for ${u.name}`, 'It is shown only now. They choose their own after the next sign-in.', result.password); }
        } }),
        u.disabled ? button('Let in again', { small: true, onclick: () => act(() => patch(`/api/users/${u.id}`, { disabled: false }), 'They may sign in again') })
          : button('Lock out', { small: true, tone: 'danger', onclick: async () => {
            if (await confirm(`Lock ${u.name} out?`, 'They are signed out everywhere. What they did stays in the audit trail.', 'Lock out')) act(() => remove(`/api/users/${u.id}`), 'Locked out');
          } })) },
    ], { label: 'Users' });
    node.add(items);
    return node;
  }, { signal, lines: 3 });
  const loadKeys = () => fillFrom(keys, () => get('/api/keys', { limit: 500 }, signal), ({ items }) => {
    if (!items.length) return h('div', { class: 'state slim' }, 'No program has a key yet.');
    const node = table([
      { title: 'Name', kind: 'first', cell: (k) => h('b', null, k.name) },
      { title: 'May', cell: (k) => pill(plain(k.scope), k.scope === 'admin' ? 'accent' : '') },
      { title: 'Last used', kind: 'nowrap muted', cell: (k) => when(k.last_used_at) || 'Never' },
      { title: 'Since', kind: 'nowrap muted', cell: (k) => when(k.created_at) },
      { title: '', kind: 'tools', cell: (k) => (k.revoked_at ? pill('Revoked', 'bad') : button('Revoke', { small: true, tone: 'danger', onclick: async () => {
        if (await confirm(`Revoke ${k.name}?`, 'Programs that use it are refused from now on.', 'Revoke') && (await attempt(() => remove(`/api/keys/${k.id}`), 'Revoked')).ok) loadKeys();
      } })) },
    ], { label: 'Keys' });
    node.add(items);
    return node;
  }, { signal, lines: 3 });
  await Promise.all([loadUsers(), loadKeys()]);
}

