// The sign-in form, before there is any frame.

import { signIn } from '../api.js';
import { clear, field, form, h, input } from '../ui.js';

export default function page(root, done, expired) {
  document.title = 'Sign in · Front desk';
  const assets = new URL('..', import.meta.url).pathname;
  const fields = [
    field('Name', input('name', { autocomplete: 'username', required: true, autocapitalize: 'none', spellcheck: 'false' })),
    field('Password', input('password', { type: 'password', autocomplete: 'current-password', required: true })),
  ];
  const body = form(fields, async ({ name, password }) => {
    await signIn(name.trim(), password);
    done();
  }, { label: 'Sign in' });
  clear(root, h('main', { class: 'sign-in', id: 'main' },
    h('div', { class: 'card' }, h('div', { class: 'inside stack' },
      h('div', { class: 'row' }, h('img', { src: `${assets}icon.svg`, alt: '', width: 36, height: 36 }), h('h1', null, 'Front desk')),
      expired ? h('p', { class: 'note warn', role: 'status' }, 'You have been signed out. Sign in to go on where you were.') : h('p', { class: 'muted' }, 'Sign in to see the calls, the calendar and the messages.'), body,
      h('p', { class: 'muted small' }, 'No account yet, or no password any more? Whoever looks after the front desk can give you one.')))));
  body.elements.name.focus();
}
