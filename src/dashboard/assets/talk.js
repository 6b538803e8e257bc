// A conversation: what was said, what of it was heard, what was cut.

import { h, pill } from './ui.js';
import { length, millis } from './words.js';

/** What of the bot's words was not heard. What was heard is the beginning of what was said; differences in spacing and
    punctuation do not count. */
export function cutPart(said, heard) {
  const text = said ?? '';
  if (!heard) return ['', text];
  if (text.startsWith(heard)) return [heard, text.slice(heard.length)];
  const plain = (c) => /[\p{L}\p{N}]/u.test(c);
  const wanted = [...heard].filter(plain).length;
  let seen = 0;
  let at = 0;
  for (const c of text) {
    if (seen === wanted) break;
    if (plain(c)) seen += 1;
    at += c.length;
  }
  return [text.slice(0, at), text.slice(at)];
}

/** Milliseconds from the caller's last word to the first audio of the answer. */
export function answerTime(latency) {
  if (!latency || latency.first_sent_ms === null || latency.first_sent_ms === undefined) return null;
  return (latency.end_of_turn_ms ?? 0) + latency.first_sent_ms;
}

export const latencyOf = (turn) => turn.latencies ?? turn.latency ?? {};

/** One turn. With `seek`, its time is a button that plays from there. While a call is `live`, what was not heard yet may
    still be. What was said `unasked`, such as a greeting, answers nobody. */
export function turnLine(turn, { seek, start, fresh, live, unasked } = {}) {
  const caller = turn.speaker === 'caller';
  const at = length((start ?? turn.at_ms ?? 0) / 1000);
  const [heard, cut] = caller ? [turn.said, ''] : cutPart(turn.said, turn.heard);
  const waited = caller || unasked ? null : answerTime(latencyOf(turn));
  return h('li', { class: `turn ${caller ? 'caller' : 'bot'} ${fresh ? 'fresh' : ''}`, data: { n: turn.n } },
    seek ? h('button', { type: 'button', class: 'at', 'aria-label': `Play from ${at}`, onclick: () => seek(turn) }, at) : h('span', { class: 'at' }, at),
    h('div', { class: 'bubble' },
      h('div', { class: 'name' }, caller ? 'Caller' : 'Receptionist'),
      h('span', null, heard),
      cut && (live && !turn.interrupted ? h('span', { class: 'pending' }, cut) : [h('span', { class: 'unseen' }, ' (not heard: '), h('del', null, cut), h('span', { class: 'unseen' }, ')')])),
    (waited !== null || turn.interrupted) && h('div', { class: 'under' },
      turn.interrupted && pill('Interrupted', 'warn'),
      waited !== null && h('span', { class: 'num' }, `answered after ${millis(waited)}`)));
}

const NOTES = {
  'call.started': 'The call was answered', 'call.barge_in': 'The caller interrupted', 'call.leave_overdue': 'Putting through took too long',
  'recording.started': 'The recording began', 'tts.fallback': 'Another voice took over', 'tts.failed': 'A sentence could not be spoken', 'tts.lost': 'The voice was lost',
  'llm.fallback': 'Another model took over', 'llm.failed': 'No answer could be found', 'llm.request_failed': 'Looking for an answer failed; it is tried again', 'llm.empty': 'The answer was empty; it is tried again',
  'stt.lost': 'The caller could not be heard', 'stt.reconnecting': 'Listening was interrupted', 'stt.interrupted': 'Listening was interrupted', 'stt.reconnected': 'The caller can be heard again', 'stt.audio_dropped': 'Some of the caller’s words were lost',
  'child.down': 'A part failed and was started again', 'tool.refused': 'Something that was asked for is not allowed', 'turn.too_slow': 'The answer took too long', 'call.resumed': 'The call came back', 'call.digit': 'A key was pressed', 'card.masked': 'A card number was taken out',
  'call.spend_cap': 'The call has cost as much as it may', 'staff.say': 'Staff had a sentence said', 'staff.muted': 'Staff silenced the receptionist', 'staff.unmuted': 'Staff let the receptionist speak again',
  'staff.transfer': 'Staff put the caller through', 'staff.end': 'Staff ended the call', 'call.suspended': 'The connection broke', 'call.let_go': 'Another process goes on with the call', 'tool.timeout': 'A look-up took too long',
};
const TOOLS = { check_availability: 'Looked for free times', book_appointment: 'Booked an appointment', collect_customer_info: 'Noted who is calling', get_business_info: 'Looked something up', take_message: 'Took a message', transfer_to_human: 'Puts the caller through', end_call: 'Ends the call' };

/** What an event is in a conversation, for people; none if it is only for those who look for faults. */
export function noteText({ code, detail }) {
  if (code === 'tool.finished') return TOOLS[detail?.tool ?? detail?.name] ?? null;
  return NOTES[code] ?? null;
}
