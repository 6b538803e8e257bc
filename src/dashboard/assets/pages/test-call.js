// A call to the receptionist from this browser's microphone.

import { announce, button, card, check, clear, h, head, icon } from '../ui.js';
import { length } from '../words.js';
import { turnLine } from '../talk.js';
import { Phone } from '../phone.js';
import * as stream from '../stream.js';

const KEYS = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '0', '#'];

export default async function page(view, { signal }) {
  const place = h('div');
  const talk = h('ol', { class: 'talk', 'aria-live': 'polite', 'aria-label': 'Conversation' });
  view.append(head('Test call', { under: 'Speak with the receptionist as a caller would, through this computer’s microphone.' }),
    h('div', { class: 'call-grid test-call' }, card('Conversation', [talk, h('p', { class: 'muted', data: { hint: '' } }, 'What is said appears here.')]), place));
  let phone = null;
  let sid = null;

  let clean = true;

  const idle = (text, bad) => clear(place, h('section', { class: 'card' }, h('div', { class: 'inside dial' },
    h('div', { class: 'dial-face' }, icon('mic')), h('p', { class: bad ? 'note bad' : 'muted', role: bad ? 'alert' : null }, text),
    button('Start the call', { tone: 'main', onclick: begin }, 'calls'),
    check('Take echo and noise out of my voice', { name: 'clean', checked: clean, onchange: (e) => { clean = e.target.checked; } }))));

  const begin = async () => {
    talk.replaceChildren();
    clear(place, h('section', { class: 'card' }, h('div', { class: 'inside dial' }, h('div', { class: 'dial-face busy' }, icon('mic')), h('p', { class: 'muted', role: 'status' }, 'Connecting…'))));
    phone = new Phone();
    phone.addEventListener('connected', () => { sid = phone.call.call_sid; during(); announce('Connected'); });
    phone.addEventListener('ended', ({ detail }) => over(detail.problem));
    try {
      await phone.start({ clean });
    } catch (error) {
      phone = null;
      idle(error.message, true);
    }
  };

  const during = () => {
    const began = Date.now();
    const time = h('span', { class: 'num' }, '0:00');
    const meters = { caller: h('i'), bot: h('i') };
    const face = h('div', { class: 'dial-face live' }, icon('mic'));
    const mute = button('Mute my microphone', { 'aria-pressed': 'false', onclick: () => {
      phone.muted = !phone.muted;
      mute.setAttribute('aria-pressed', String(phone.muted));
    } }, 'mute');
    // The numbers are for eyes only; a screen reader would read them for ever.
    const meter = (name, label) => h('div', { class: `meter ${name}` }, h('span', { class: 'small muted' }, label), h('div', { role: 'presentation' }, meters[name]));
    clear(place, h('section', { class: 'card' }, h('div', { class: 'inside dial' }, face, h('p', { role: 'status' }, h('b', null, 'In the call'), ' ', time),
      meter('caller', 'You'), meter('bot', 'Receptionist'),
      h('div', { class: 'row' }, mute, button('Hang up', { tone: 'danger', onclick: () => phone.hangUp() }, 'end')),
      h('details', null, h('summary', null, 'Keys'), h('div', { class: 'keypad' }, KEYS.map((k) => h('button', { type: 'button', class: 'button', onclick: () => phone.press(k) }, k)))))));
    const beat = () => {
      if (signal.aborted || !phone) return;
      const levels = phone.levels;
      place.dataset.heard = String(phone.heard);
      for (const name of ['caller', 'bot']) meters[name].style.setProperty('width', `${Math.min(100, Math.sqrt(levels[name]) * 100)}%`);
      time.textContent = length((Date.now() - began) / 1000);
      requestAnimationFrame(beat);
    };
    beat();
  };

  const over = async (problem) => {
    const ended = sid;
    const heard = phone?.heard ?? 0;
    phone = null;
    idle(problem ?? 'The call is over.', Boolean(problem));
    place.dataset.heard = String(heard);
    announce('The call is over');
    const id = ended && await stream.idOf(ended).catch(() => null);
    if (id && !signal.aborted && !phone) place.querySelector('.dial')?.append(h('a', { class: 'button', href: `/calls/${id}` }, 'See this call'));
  };

  stream.watch((event) => {
    if (event.type !== 'turn' || !sid || event.sid !== sid) return;
    view.querySelector('[data-hint]')?.remove();
    const known = talk.querySelector(`[data-n="${event.turn.n}"]`);
    const line = turnLine(event.turn, { fresh: !known, live: true });
    if (known) known.replaceWith(line);
    else talk.append(line);
  }, signal);
  signal.addEventListener('abort', () => phone?.hangUp());
  idle('The receptionist answers as on the telephone and may book appointments. The call is listed with the others.');
}
