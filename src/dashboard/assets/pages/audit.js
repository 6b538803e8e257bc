// What staff did, and when.

import { empty, h, head, table } from '../ui.js';
import { clockSeconds, dayAndTime, plain } from '../words.js';
import { endless } from '../scroll.js';

const DID = {
  'appointment.create': 'Made an appointment', 'appointment.change': 'Changed an appointment', 'appointment.cancel': 'Cancelled an appointment',
  'call.place': 'Placed a call', 'call.end': 'Ended a call', 'call.say': 'Had a sentence said', 'call.mute': 'Silenced the receptionist', 'call.unmute': 'Let the receptionist speak again', 'call.transfer': 'Put a caller through',
  'call.test': 'Made a test call', 'customer.create': 'Added a customer', 'customer.change': 'Changed a customer', 'customer.remove': 'Removed a customer', 'customer.erase': 'Erased a person', 'job.retry': 'Had something tried again', 'job.delete': 'Discarded background work',
  'key.create': 'Made a key', 'key.revoke': 'Revoked a key', 'message.change': 'Saw to a message', 'profile.change': 'Changed the business’s profile', 'settings.change': 'Changed settings', 'recording.delete': 'Deleted a recording',
  'session.begin': 'Signed in', 'time_off.create': 'Blocked time', 'time_off.remove': 'Opened blocked time', 'user.create': 'Added a user', 'user.change': 'Changed a user', 'user.disable': 'Locked a user out', 'user.password': 'Set a password',
};
/** Details in a row, `name: Website`. */
const said = (detail) => Object.entries(detail).map(([name, value]) => `${plain(name)}: ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(' · ');

const KIND = { user: 'User', key: 'Program with a key', command: 'On the server itself' };

export default async function page(view, { signal }) {
  const list = endless('/api/audit', {
    signal,
    make: () => {
      const node = table([
        { title: 'When', kind: 'first num muted', cell: (e) => h('span', { title: clockSeconds(e.at) }, dayAndTime(e.at)) },
        { title: 'Who', cell: (e) => h('div', { class: 'two' }, h('b', null, e.who.name), h('span', null, KIND[e.who.kind] ?? plain(e.who.kind))) },
        { title: 'Did', cell: (e) => h('span', { title: e.action }, DID[e.action] ?? plain(e.action)) },
        { title: 'To', cell: (e) => plain(e.target) },
        { title: 'Details', kind: 'clip', cell: (e) => (e.detail && Object.keys(e.detail).length ? h('div', { class: 'muted small' }, said(e.detail)) : null) },
      ], { label: 'Audit trail' });
      return { node, add: node.add };
    },
    blank: (q) => empty(Object.values(q).some(Boolean) ? 'Nothing matches' : 'Nothing was done yet', 'Every change that staff make and every key they use to make it is listed here.'),
  });
  view.append(head('Audit trail', { under: 'Nothing can be changed or removed here.' }), list.node);
  list.load({});
}

