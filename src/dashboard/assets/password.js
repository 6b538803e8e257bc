// Choosing one's own password.

import { call, session, signIn } from './api.js';
import { clear, dialog, field, form, h, input } from './ui.js';

const fields = () => h('div', { class: 'fields' },
  field('Password now', input('current', { type: 'password', autocomplete: 'current-password', required: true }), { full: true }),
  field('New password', input('new', { type: 'password', autocomplete: 'new-password', required: true, minlength: 10 }), { full: true, hint: 'At least 10 characters' }));

const put = (values) => call('PUT', '/api/session/password', { body: { current: values.current, new: values.new } });

/** Whoever signed in with a password that was made for them chooses their own before anything else. */
export function choosePassword(root) {
  document.title = 'Choose a password · Front desk';
  const body = form([fields()], async (values) => {
    const { name } = session.user;
    await put(values);
    await signIn(name, values.new);
    location.assign('/');
  }, { label: 'Choose this password' });
  clear(root, h('main', { class: 'sign-in', id: 'main' }, h('div', { class: 'card' }, h('div', { class: 'inside stack' },
    h('h1', null, 'Choose your own password'),
    h('p', { class: 'muted' }, 'The one you signed in with was made for you, and somebody else has seen it.'), body))));
  body.elements.current.focus();
}

/** Asks for the old and the new password. Afterwards one signs in again. */
export const changePassword = () => dialog('Change your password', (close) => form([fields()], async (values) => {
  await put(values);
  close();
  location.assign('/');
}, { label: 'Change and sign in again', cancel: () => close() }));
