// Choosing one's own password.

import { call } from './api.js';
import { dialog, field, form, h, input } from './ui.js';

/** Asks for the old and the new password. Afterwards one signs in again. */
export const changePassword = () => dialog('Change your password', (close) => form([
  h('div', { class: 'fields' },
    field('Password now', input('current', { type: 'password', autocomplete: 'current-password', required: true }), { full: true }),
    field('New password', input('new', { type: 'password', autocomplete: 'new-password', required: true, minlength: 10 }), { full: true, hint: 'At least 10 characters' })),
], async (values) => {
  await call('PUT', '/api/session/password', { body: { current: values.current, new: values.new } });
  close();
  location.assign('/');
}, { label: 'Change and sign in again', cancel: () => close() }));
