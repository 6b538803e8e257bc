// Places a call.

import { post } from '../api.js';
import { card, clear, field, form, h, head, input, textarea } from '../ui.js';
import { phone } from '../words.js';

export default async function page(view, { query }) {
  const placed = h('div', { role: 'status' });
  const body = form([h('div', { class: 'fields' },
    field('Number', input('to', { type: 'tel', required: true, placeholder: '+12025550143', value: query.get('to') ?? '', autocomplete: 'tel' }), { hint: 'With country code', full: true }),
    field('Purpose', input('purpose', { maxlength: 200, value: query.get('purpose') ?? '', placeholder: 'Confirm tomorrow’s appointment' }), { hint: 'What the receptionist says it calls about', full: true }),
    field('What it should know', textarea('context', { maxlength: 2000, placeholder: 'Elena is ill; offer Marcus at the same time, or another day with Elena.' }), { full: true }))],
  async (values, node) => {
    const request = { to: values.to.replace(/[\s().-]/g, '') };
    if (values.purpose.trim()) request.purpose = values.purpose.trim();
    if (values.context.trim()) request.context = values.context.trim();
    const answer = await post('/api/calls/outbound', request);
    node.reset();
    clear(placed, h('div', { class: 'note good row apart' }, h('span', null, `Calling ${phone(request.to)}.`), h('a', { href: `/live/${encodeURIComponent(answer.callSid)}` }, 'Watch the call')));
  }, { label: 'Place the call' });
  view.append(head('Place a call', { under: 'The receptionist rings somebody and speaks for the business.' }), h('div', { class: 'narrow stack' }, placed, card(null, body)));
}
